#include "os/shared_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>

#include "os/process.h"
#include "os/syscall.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace pm::os {

SharedMemory make_shared_memory(const char* name, size_t bytes) {
  constexpr SharedMemory kRefused = {nullptr, -1};
  const long fd = raw_syscall(SYS_memfd_create, argument(name), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (failed(fd)) return kRefused;
  const auto length = static_cast<long>(bytes);
  const long start = failed(raw_syscall(SYS_ftruncate, fd, length))
                         ? -1
                         : raw_syscall(SYS_mmap, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const bool ready = !failed(start) && !failed(raw_syscall(SYS_madvise, start, length, MADV_DONTFORK)) &&
                     !failed(raw_syscall(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
  if (!ready) {
    if (!failed(start)) raw_syscall(SYS_munmap, start, length);
    close_file(static_cast<int>(fd));
    return kRefused;
  }
  raw_syscall(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
  raw_syscall(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_SEAL);
  return {reinterpret_cast<void*>(start), static_cast<int>(fd)};
}

void drop_shared_memory(SharedMemory memory, size_t bytes) {
  if (memory.start != nullptr) raw_syscall(SYS_munmap, argument(memory.start), static_cast<long>(bytes));
  if (memory.fd >= 0) close_file(memory.fd);
}

uint64_t unix_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000U + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace pm::os
