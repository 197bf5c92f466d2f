#include "os/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "os/syscall.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

namespace pm::os {
namespace {

long open_for_reading(const char* path) {
  return raw_syscall(SYS_openat, AT_FDCWD, argument(path), O_RDONLY | O_CLOEXEC);
}

uint64_t read_number(const char* path, uint64_t otherwise) {
  char text[32];
  if (read_small_file(path, text, sizeof text) <= 0) return otherwise;
  const char* p = text;
  return is_digit(*p) ? decimal_at(p) : otherwise;
}

}  // namespace

size_t page_size() {
  // Relaxed by nature: every thread computes the same value.
  static size_t cached = 0;
  if (cached == 0) {
    const unsigned long value = getauxval(AT_PAGESZ);
    cached = value != 0 ? value : 4096;
  }
  return cached;
}

bool is_secure() { return getauxval(AT_SECURE) != 0; }

uint64_t random_seed() {
  uint64_t seed = 0;
  const auto* bytes = reinterpret_cast<const char*>(getauxval(AT_RANDOM));
  if (bytes != nullptr) {
    memcpy(&seed, bytes, sizeof seed);
  } else {
    seed = monotonic_ns();
  }
  return seed;
}

uint64_t physical_memory() {
  struct sysinfo info;
  if (failed(raw_syscall(SYS_sysinfo, argument(&info)))) return uint64_t{4} << 30;
  return static_cast<uint64_t>(info.totalram) * info.mem_unit;
}

uint64_t address_space_limit() {
  rlimit limit{};
  if (failed(raw_syscall(SYS_prlimit64, 0, RLIMIT_AS, 0, argument(&limit)))) return UINT64_MAX;
  return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

int overcommit_mode() { return static_cast<int>(read_number("/proc/sys/vm/overcommit_memory", 0)); }
uint64_t max_map_count() { return read_number("/proc/sys/vm/max_map_count", 65530); }

int process_id() { return static_cast<int>(raw_syscall(SYS_getpid)); }
int thread_id() { return static_cast<int>(raw_syscall(SYS_gettid)); }

namespace {

// A word that the kernel zeroes in a forked child (MADV_WIPEONFORK, Linux 4.14), so that no fork handler is needed and
// none can be missed. nullptr where that is not to be had. Release and acquire publish the page.
std::atomic<std::atomic<uint64_t>*> generation_word{nullptr};
std::atomic<bool> generation_by_pid{false};
std::atomic<uint64_t> generations{0};  // relaxed: only differs from one child to its own

std::atomic<uint64_t>* map_generation() {
  const long page = raw_syscall(SYS_mmap, 0, static_cast<long>(page_size()), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (failed(page)) return nullptr;
  if (failed(raw_syscall(SYS_madvise, page, static_cast<long>(page_size()), MADV_WIPEONFORK))) {
    raw_syscall(SYS_munmap, page, static_cast<long>(page_size()));
    return nullptr;
  }
  auto* const fresh = reinterpret_cast<std::atomic<uint64_t>*>(page);
  std::atomic<uint64_t>* expected = nullptr;
  if (generation_word.compare_exchange_strong(expected, fresh, std::memory_order_acq_rel)) return fresh;
  raw_syscall(SYS_munmap, page, static_cast<long>(page_size()));
  return expected;
}

}  // namespace

uint64_t process_generation() {
  if (generation_by_pid.load(std::memory_order_relaxed)) return static_cast<uint64_t>(process_id());
  std::atomic<uint64_t>* word = generation_word.load(std::memory_order_acquire);
  if (word == nullptr) word = map_generation();
  if (word == nullptr) {
    generation_by_pid.store(true, std::memory_order_relaxed);
    return static_cast<uint64_t>(process_id());
  }
  uint64_t now = word->load(std::memory_order_relaxed);
  while (now == 0) {
    const uint64_t next = generations.fetch_add(1, std::memory_order_relaxed) + 1;
    if (word->compare_exchange_strong(now, next, std::memory_order_relaxed)) return next;
  }
  return now;
}

void yield_thread() { raw_syscall(SYS_sched_yield); }

void sleep_ns(uint64_t nanoseconds) {
  const timespec length = {static_cast<time_t>(nanoseconds / 1000000000U),
                           static_cast<long>(nanoseconds % 1000000000U)};
  raw_syscall(SYS_nanosleep, argument(&length), 0);
}

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000U + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t coarse_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000U + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t wall_clock_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000U + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t process_start_ns() {
  // The 22nd field of stat, in hundredths of a second since the machine started. The second is a name in parentheses
  // that may hold anything.
  char text[1024];
  const long length = read_small_file("/proc/self/stat", text, sizeof text);
  if (length <= 0) return 0;
  const char* p = strrchr(text, ')');
  for (unsigned field = 2; p != nullptr && field < 22; ++field) {
    p = strchr(p, ' ');
    if (p != nullptr) ++p;
  }
  if (p == nullptr) return 0;
  const uint64_t ticks = decimal_at(p);
  timespec up{};
  clock_gettime(CLOCK_BOOTTIME, &up);
  const uint64_t since_boot = static_cast<uint64_t>(up.tv_sec) * 1000000000U + static_cast<uint64_t>(up.tv_nsec);
  const uint64_t started = ticks * 10'000'000;
  return started <= since_boot ? wall_clock_ns() - (since_boot - started) : 0;
}

long executable_path(char* buffer, size_t size) {
  const long length =
      raw_syscall(SYS_readlinkat, AT_FDCWD, argument("/proc/self/exe"), argument(buffer), static_cast<long>(size - 1));
  buffer[failed(length) ? 0 : length] = 0;
  return length;
}

uint64_t process_resident_bytes() {
  char text[128];
  if (read_small_file("/proc/self/statm", text, sizeof text) <= 0) return 0;
  const char* p = text;
  while (*p != 0 && *p != ' ') ++p;
  return *p == 0 ? 0 : decimal_at(++p) * page_size();
}

bool initial_variable(const char* name, char* value, size_t size) {
  const long fd = open_for_reading("/proc/self/environ");
  if (failed(fd)) return false;
  char chunk[1024];
  size_t matched = 0;  // characters of the name, and of the '=' behind it; SIZE_MAX: another variable
  size_t length = 0;   // of the value
  const size_t name_length = text_length(name);
  bool found = false;
  bool fits = true;
  for (;;) {
    const long n = raw_syscall(SYS_read, fd, argument(chunk), sizeof chunk);
    if (n == -EINTR) continue;
    if (n <= 0) break;
    for (long i = 0; i < n && !found; ++i) {
      const char c = chunk[i];
      if (c == 0) {
        found = matched == name_length + 1;
        if (!found) matched = length = 0;
      } else if (matched == name_length + 1) {
        if (length + 1 < size) {
          value[length++] = c;
        } else {
          fits = false;
        }
      } else if (matched != SIZE_MAX) {
        matched = c == (matched < name_length ? name[matched] : '=') ? matched + 1 : SIZE_MAX;
      }
    }
    if (found) break;
  }
  raw_syscall(SYS_close, fd);
  value[length] = 0;
  return found && fits;
}

char** environment() { return environ; }

long read_small_file(const char* path, char* buffer, size_t size) {
  const long fd = open_for_reading(path);
  if (failed(fd)) return fd;
  size_t length = 0;
  long result = 0;
  while (length < size - 1) {
    result = raw_syscall(SYS_read, fd, argument(buffer + length), static_cast<long>(size - 1 - length));
    if (result == -EINTR) continue;
    if (result <= 0) break;
    length += static_cast<size_t>(result);
  }
  raw_syscall(SYS_close, fd);
  buffer[length] = 0;
  return failed(result) ? result : static_cast<long>(length);
}

long write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    const long n = raw_syscall(SYS_write, fd, argument(data), static_cast<long>(size));
    if (n == -EINTR) continue;
    if (failed(n)) return n;
    data += n;
    size -= static_cast<size_t>(n);
  }
  return 0;
}

int create_file(const char* path) {
  return static_cast<int>(
      raw_syscall(SYS_openat, AT_FDCWD, argument(path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
}

void close_file(int fd) { raw_syscall(SYS_close, fd); }

int keep_file(int fd) { return static_cast<int>(raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 200)); }

void abort_process() {
  // As abort(3), but with no lock of libc's: unblock, restore the default, raise in this thread, and never return.
  uint64_t all = uint64_t{1} << (SIGABRT - 1);
  raw_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, argument(&all), 0, sizeof all);
  raw_syscall(SYS_tgkill, process_id(), thread_id(), SIGABRT);
  // The host's handler came back: insist.
  signal(SIGABRT, SIG_DFL);
  raw_syscall(SYS_tgkill, process_id(), thread_id(), SIGABRT);
  for (;;) raw_syscall(SYS_exit_group, 134);
}

}  // namespace pm::os
