// Kept-open files: what the sensors need of the kernel, as a struct of functions, so that tests can make files vanish,
// hold garbage or be somebody else's. Raw system calls only: no errno, no allocation, nothing of libc's, so that a
// thread without a C library may call them. Thread-safe; no locks.
//
// Descriptors are closed on exec and moved out of the way of the program's own. A program may close them all the same
// (closefrom, daemon), and the number may then belong to a file of its own: callers compare the identity before each
// use (observe/kept_file.h).
#pragma once

#include <cstddef>
#include <cstdint>

struct pollfd;

namespace pm::os {

enum class FileKind : uint8_t { none, regular, directory, pipe, socket, character, other };
enum class OpenMode : uint8_t { read, write, read_write };

struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  FileKind kind = FileKind::none;  // none: there is no such descriptor or path

  bool operator==(const FileIdentity&) const = default;
};

struct FileFunctions {
  void* context;
  // A descriptor or -errno. Never waits: a pipe is opened without blocking.
  int (*open)(void* context, const char* path, OpenMode mode);
  // Connects to a listening Unix socket. A descriptor or -errno.
  int (*connect)(void* context, const char* path);
  // A counter that can be polled (eventfd), or -errno.
  int (*create_event)(void* context);
  void (*close)(void* context, int fd);
  // From the file's beginning, so that every read is a new look at it. Bytes or -errno.
  long (*read)(void* context, int fd, char* buffer, size_t size);
  // From where a stream stands; -EAGAIN where there is nothing. Bytes or -errno.
  long (*take)(void* context, int fd, char* buffer, size_t size);
  long (*write)(void* context, int fd, const char* data, size_t size);
  FileIdentity (*identify)(void* context, int fd);
  FileIdentity (*look_up)(void* context, const char* path);
  uint64_t (*address_space_limit)(void* context);  // RLIMIT_AS, UINT64_MAX if none
  uint64_t (*now_ns)(void* context);               // CLOCK_MONOTONIC
  int (*process)(void* context);                   // changes in a forked child
};

const FileFunctions& files();

// Waits until one of the descriptors is ready (entries below 0 are skipped) or the time is over. How many are ready,
// or -errno (-EINTR after a signal).
long wait_for_files(pollfd* entries, unsigned count, uint32_t timeout_ms);

}  // namespace pm::os
