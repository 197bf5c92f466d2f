#include "os/mapped_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include <cerrno>

#include "base/bits.h"
#include "base/text.h"
#include "os/process.h"
#include "os/syscall.h"

#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

namespace pm::os {
namespace {

constexpr long kMode = 0600;

long open_file(const char* path, long flags) {
  return raw_syscall(SYS_openat, AT_FDCWD, argument(path), flags | O_RDWR | O_CLOEXEC, kMode);
}

long open_unnamed(const char* directory) {
  const long fd = open_file(directory, O_TMPFILE);
  // A file system without O_TMPFILE says EOPNOTSUPP; a kernel without it takes it for an O_DIRECTORY to write to.
  return fd == -EOPNOTSUPP || fd == -EISDIR ? open_and_unlink(directory) : fd;
}

// 0 if the descriptor is fit to be a heap.
long examine(int fd) {
  struct stat status;
  const long result = raw_syscall(SYS_fstat, fd, argument(&status));
  if (failed(result)) return result;
  if (!S_ISREG(status.st_mode)) return -EINVAL;
  // Pages of hugetlbfs are longer than our granule, which could neither be reserved nor punched by itself.
  struct statfs system;
  if (!failed(raw_syscall(SYS_fstatfs, fd, argument(&system))) && system.f_type == HUGETLBFS_MAGIC) return -EINVAL;
  // Where the file system has no locks, nobody has locked it.
  return raw_syscall(SYS_flock, fd, LOCK_EX | LOCK_NB) == -EWOULDBLOCK ? -EBUSY : 0;
}

long kernel_open(const char* path, FileOrigin kind) {
  long fd = 0;
  switch (kind) {
    case FileOrigin::fresh: fd = open_file(path, O_CREAT | O_EXCL); break;
    case FileOrigin::existing: fd = open_file(path, O_NONBLOCK); break;
    case FileOrigin::unnamed: fd = open_unnamed(path); break;
  }
  if (failed(fd)) return fd;
  const long verdict = examine(static_cast<int>(fd));
  if (verdict != 0) {
    close_file(static_cast<int>(fd));
    if (kind == FileOrigin::fresh) remove_file(path);
    return verdict;
  }
  const int kept = keep_file(static_cast<int>(fd));
  if (kept < 0) return fd;  // few descriptors are allowed: then where it is
  close_file(static_cast<int>(fd));
  return kept;
}

long kernel_state(int fd, MappedFileState& out) {
  struct stat status;
  const long result = raw_syscall(SYS_fstat, fd, argument(&status));
  if (failed(result)) return result;
  out = {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size)};
  return 0;
}

long kernel_resize(int fd, uint64_t bytes) {
  rlimit limit{};
  if (!failed(raw_syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, argument(&limit))) && limit.rlim_cur != RLIM_INFINITY &&
      bytes > limit.rlim_cur) {
    return -EFBIG;
  }
  if (bytes > INT64_MAX) return -EFBIG;
  return raw_syscall(SYS_ftruncate, fd, static_cast<long>(bytes));
}

// In pieces, because a signal undoes the whole of a call (tmpfs): a program with a profiling timer would never get a
// long one done.
long kernel_reserve(int fd, uint64_t offset, uint64_t bytes) {
  constexpr uint64_t kPiece = 16 * kMiB;
  while (bytes > 0) {
    const uint64_t piece = bytes < kPiece ? bytes : kPiece;
    const long result =
        raw_syscall(SYS_fallocate, fd, FALLOC_FL_KEEP_SIZE, static_cast<long>(offset), static_cast<long>(piece));
    if (result == -EINTR) continue;
    if (result == -EOPNOTSUPP || result == -ENOSYS) return write_zeros(fd, offset, bytes);
    if (failed(result)) return result;
    offset += piece;
    bytes -= piece;
  }
  return 0;
}

long kernel_map(int fd, uintptr_t start, size_t bytes, bool sync) {
  const long flags = MAP_FIXED | (sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED);
  const long result =
      raw_syscall(SYS_mmap, static_cast<long>(start), static_cast<long>(bytes), PROT_READ | PROT_WRITE, flags, fd, 0);
  return failed(result) ? result : 0;
}

// MADV_REMOVE punches the hole through the mapping, as fallocate(FALLOC_FL_PUNCH_HOLE) does through the descriptor:
// should the program have closed that and opened something else under its number, no other file loses data.
long kernel_punch(uintptr_t start, size_t bytes) {
  long result;
  do {
    result = raw_syscall(SYS_madvise, static_cast<long>(start), static_cast<long>(bytes), MADV_REMOVE);
  } while (result == -EINTR);
  return result;
}

constexpr MappedFileFunctions kKernel = {kernel_open,    kernel_state, kernel_resize,
                                         kernel_reserve, kernel_map,   kernel_punch};
const MappedFileFunctions* replaced = nullptr;

}  // namespace

const MappedFileFunctions& mapped_file_functions() { return replaced == nullptr ? kKernel : *replaced; }
void set_mapped_file_functions(const MappedFileFunctions* functions) { replaced = functions; }

long open_and_unlink(const char* directory) {
  char path[4096];
  const auto now = monotonic_ns();
  for (uint64_t attempt = 0; attempt < 64; ++attempt) {
    TextWriter out(path);
    out.text(directory).text("/.poolmalloc-").number(static_cast<unsigned>(process_id())).character('-');
    out.number(now + attempt);
    if (out.total() >= sizeof path) return -ENAMETOOLONG;
    const long fd = open_file(out.c_str(), O_CREAT | O_EXCL);
    if (fd == -EEXIST) continue;
    if (!failed(fd)) remove_file(path);
    return fd;
  }
  return -EEXIST;
}

long write_zeros(int fd, uint64_t offset, uint64_t bytes) {
  static constexpr char kZeros[4096] = {};
  constexpr unsigned kMost = 16;
  iovec pieces[kMost];
  while (bytes > 0) {
    unsigned count = 0;
    for (uint64_t rest = bytes; rest > 0 && count < kMost; ++count) {
      const size_t length = rest < sizeof kZeros ? rest : sizeof kZeros;
      pieces[count] = {const_cast<char*>(kZeros), length};
      rest -= length;
    }
    const long written = raw_syscall(SYS_pwritev, fd, argument(pieces), count, static_cast<long>(offset), 0);
    if (written == -EINTR) continue;
    if (failed(written)) return written;
    if (written == 0) return -EIO;
    offset += static_cast<uint64_t>(written);
    bytes -= static_cast<uint64_t>(written);
  }
  return 0;
}

void unlock_file(int fd) { raw_syscall(SYS_flock, fd, LOCK_UN); }

void remove_file(const char* path) { raw_syscall(SYS_unlinkat, AT_FDCWD, argument(path), 0); }

}  // namespace pm::os
