// Files as memory: the system calls behind a file heap.
//
// Every call goes through `mapped_file_functions()`, so that tests can count, refuse and fake them. Results are 0 (or
// what is said) or -errno; errno is left alone. Thread-safe; no locks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm::os {

enum class FileOrigin : uint8_t {
  fresh,     // the path must not exist yet
  existing,  // the path names a regular file
  unnamed,   // the path is a directory; the file in it has no name
};

// What tells a file from another, and how long it is.
struct MappedFileState {
  uint64_t device;
  uint64_t inode;
  uint64_t bytes;
};

struct MappedFileFunctions {
  // Opens for reading and writing, closed on exec, and locks it (flock(2)) against another user: the descriptor, which
  // is out of the way of the program's own. -EBUSY if somebody has it locked, -EINVAL if it is no regular file or lies
  // on hugetlbfs.
  long (*open)(const char* path, FileOrigin kind);
  long (*state)(int fd, MappedFileState& out);
  // Sets the length; what is new is a hole. -EFBIG beyond RLIMIT_FSIZE, without the signal.
  long (*resize)(int fd, uint64_t bytes);
  // Gives blocks to [offset, offset + bytes), which stays within the length, so that writing there cannot fail for want
  // of room. Part of it may have been done if it fails.
  long (*reserve)(int fd, uint64_t offset, uint64_t bytes);
  // Maps the file from its start over a reservation of ours, shared. With `sync` stores are durable once they left the
  // CPU's caches (DAX); -EOPNOTSUPP where the file system cannot.
  long (*map)(int fd, uintptr_t start, size_t bytes, bool sync);
  // Gives the blocks behind a part of the mapping back; it reads as zero afterwards.
  long (*punch)(uintptr_t start, size_t bytes);
};

const MappedFileFunctions& mapped_file_functions();
// Tests only; not thread-safe. nullptr restores the kernel's.
void set_mapped_file_functions(const MappedFileFunctions* functions);

// The ways in which the above are done where a file system lacks the better one; for tests.
long open_and_unlink(const char* directory);
long write_zeros(int fd, uint64_t offset, uint64_t bytes);

void remove_file(const char* path);
// For all who hold the same opening of the file: a child of fork(2) that lives on keeps its descriptor, but not the
// lock.
void unlock_file(int fd);

}  // namespace pm::os
