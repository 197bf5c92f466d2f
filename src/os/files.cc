#include "os/files.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <cerrno>

#include "os/process.h"
#include "os/syscall.h"

namespace pm::os {
namespace {

// Swaps a new descriptor for a high one. Where that is refused (a low RLIMIT_NOFILE) the low one stays.
int move_away(long fd) {
  if (failed(fd)) return static_cast<int>(fd);
  const int kept = keep_file(static_cast<int>(fd));
  if (kept < 0) return static_cast<int>(fd);
  close_file(static_cast<int>(fd));
  return kept;
}

int open_kept(void*, const char* path, OpenMode mode) {
  const int access = mode == OpenMode::read ? O_RDONLY : mode == OpenMode::write ? O_WRONLY : O_RDWR;
  return move_away(raw_syscall(SYS_openat, AT_FDCWD, argument(path), access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0));
}

int connect_kept(void*, const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  size_t length = 0;
  while (path[length] != '\0') {
    if (length == sizeof address.sun_path - 1) return -ENAMETOOLONG;
    address.sun_path[length] = path[length];
    ++length;
  }
  const long fd = raw_syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (failed(fd)) return static_cast<int>(fd);
  const long result = raw_syscall(SYS_connect, fd, argument(&address), sizeof address);
  if (failed(result)) {
    close_file(static_cast<int>(fd));
    return static_cast<int>(result);
  }
  return move_away(fd);
}

int create_event_kept(void*) { return move_away(raw_syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK)); }

void close_kept(void*, int fd) { close_file(fd); }

long read_start(void*, int fd, char* buffer, size_t size) {
  long result;
  do {
    result = raw_syscall(SYS_pread64, fd, argument(buffer), static_cast<long>(size), 0);
  } while (result == -EINTR);
  return result;
}

long take_some(void*, int fd, char* buffer, size_t size) {
  return raw_syscall(SYS_read, fd, argument(buffer), static_cast<long>(size));
}

long write_some(void*, int fd, const char* data, size_t size) {
  return raw_syscall(SYS_write, fd, argument(data), static_cast<long>(size));
}

FileKind kind_of(unsigned mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return FileKind::regular;
    case S_IFDIR: return FileKind::directory;
    case S_IFIFO: return FileKind::pipe;
    case S_IFSOCK: return FileKind::socket;
    case S_IFCHR: return FileKind::character;
    default: return FileKind::other;
  }
}

FileIdentity identity_of(long result, const struct stat& state) {
  if (failed(result)) return {};
  return {state.st_dev, state.st_ino, kind_of(state.st_mode)};
}

FileIdentity identify_file(void*, int fd) {
  struct stat state;
  const long result = raw_syscall(SYS_fstat, fd, argument(&state));
  return identity_of(result, state);
}

FileIdentity look_up_path(void*, const char* path) {
  struct stat state;
  const long result = raw_syscall(SYS_newfstatat, AT_FDCWD, argument(path), argument(&state), 0);
  return identity_of(result, state);
}

uint64_t limit_of_addresses(void*) { return address_space_limit(); }
uint64_t time_now(void*) { return monotonic_ns(); }
int this_process(void*) { return process_id(); }

}  // namespace

const FileFunctions& files() {
  static constexpr FileFunctions kFunctions = {
      nullptr,    open_kept,     connect_kept, create_event_kept,  close_kept, read_start,   take_some,
      write_some, identify_file, look_up_path, limit_of_addresses, time_now,   this_process,
  };
  return kFunctions;
}

long wait_for_files(pollfd* entries, unsigned count, uint32_t timeout_ms) {
  timespec timeout{static_cast<time_t>(timeout_ms / 1000), static_cast<long>(timeout_ms % 1000) * 1000000};
  return raw_syscall(SYS_ppoll, argument(entries), count, argument(&timeout), 0, 0);
}

}  // namespace pm::os
