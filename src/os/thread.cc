#include "os/thread.h"

#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "base/lock.h"
#include "base/text.h"
#include "os/cpu.h"
#include "os/process.h"
#include "os/syscall.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

// A thread made by hand cannot be: the sanitizers' run times keep state of theirs in every thread.
#if defined(__x86_64__) && !PM_SANITIZED
#define PM_HAS_RAW_THREADS 1
#else
#define PM_HAS_RAW_THREADS 0
#endif

namespace pm::os {
namespace {

constexpr size_t kStackBytes = 128 * kKiB;
constexpr int kStarting = -1;

#if PM_HAS_RAW_THREADS

// The mapping, from below: a guard page, the stack, the TLS block with the thread pointer inside, the RawThread, and
// what the caller keeps.
struct Layout {
  ptrdiff_t low, high;  // of the TLS block, around the thread pointer
  size_t pointer;       // offset of the thread pointer in the mapping
  size_t stack_top;
  size_t record;
  size_t kept;
};

char* this_thread_pointer() { return static_cast<char*>(__builtin_thread_pointer()); }

// glibc and the compilers use the words at fixed places up to here: the pointer to itself, the canary at 0x28, the
// pointer guard at 0x30.
constexpr ptrdiff_t kHeaderBytes = 0x80;
constexpr size_t kCanaryOffset = 0x28;
constexpr size_t kGuardOffset = 0x30;

Layout layout() {
  Layout l = {0, kHeaderBytes, 0, 0, 0, 0};
  cover_rseq_areas(l.low, l.high);
  // The library's variables lie together, within 64 bytes; errno is what libc's wrappers write on failure.
  for (const void* variable : {static_cast<const void*>(&locks_held), static_cast<const void*>(&errno)}) {
    const ptrdiff_t offset = static_cast<const char*>(variable) - this_thread_pointer();
    if (offset - 64 < l.low) l.low = offset - 64;
    if (offset + 64 > l.high) l.high = offset + 64;
  }
  const size_t page = page_size();
  l.stack_top = page + kStackBytes;
  l.pointer = l.stack_top + align_up(static_cast<size_t>(-l.low), kCacheLine);
  l.record = align_up(l.pointer + static_cast<size_t>(l.high), kCacheLine);
  l.kept = align_up(l.record + sizeof(RawThread), kCacheLine);
  return l;
}

// int clone_thread(long flags, void* stack, int* id, void* thread_pointer): as clone(2) with both id words at `id`. The
// new thread takes a function and its argument off its stack and calls it.
extern "C" __attribute__((visibility("hidden"))) int pm_clone_thread(long flags, void* stack, void* id,
                                                                     void* thread_pointer);
asm(R"(
  .text
  .p2align 4
  .hidden pm_clone_thread
  .globl pm_clone_thread
  .type pm_clone_thread, @function
pm_clone_thread:
  .cfi_startproc
  endbr64
  movq %rcx, %r8
  movq %rdx, %r10
  movl $56, %eax
  syscall
  testl %eax, %eax
  jz 1f
  ret
1:
  .cfi_undefined %rip
  xorl %ebp, %ebp
  popq %rax
  popq %rdi
  call *%rax
  hlt
  .cfi_endproc
  .size pm_clone_thread, . - pm_clone_thread
)");

// What the thread does not want to inherit from the one that happened to start it: a real-time policy and a mask of
// CPUs that another thread may keep busy for ever. What is refused is left.
void shed_inheritance() {
  const long policy = raw_syscall(SYS_sched_getscheduler, 0);
  if (policy == SCHED_FIFO || policy == SCHED_RR) {
    const sched_param parameters = {};
    raw_syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, argument(&parameters));
  }
  uint8_t every_cpu[1024];
  memset(every_cpu, 0xff, sizeof every_cpu);
  raw_syscall(SYS_sched_setaffinity, 0, sizeof every_cpu, argument(every_cpu));
}

#endif

// The number behind a key at the start of a line, such as "\nThreads:", or `otherwise`.
uint64_t number_after(const char* text, const char* key, uint64_t otherwise) {
  const char* p = strstr(text, key);
  if (p == nullptr) return otherwise;
  for (p += text_length(key); *p == ' ' || *p == '\t'; ++p) {
  }
  return decimal_at(p);
}

// Whether a line such as "\nUid:\t0\t0\t0\t0" begins with these three numbers.
bool same_ids(const char* text, const char* key, const uint32_t (&ids)[3]) {
  const char* p = strstr(text, key);
  if (p == nullptr) return true;
  p += text_length(key);
  for (const uint32_t id : ids) {
    while (*p == ' ' || *p == '\t') ++p;
    if (decimal_at(p) != id) return false;
  }
  return true;
}

// The count came with Linux 5.9; before, there is only the mode.
uint32_t filters_in(const char* status) {
  return static_cast<uint32_t>(number_after(status, "\nSeccomp_filters:", number_after(status, "\nSeccomp:", 0)));
}

// What the process's first thread, which has ended, gave to exit(2): the last number of its stat, in wait(2)'s form.
int first_exit_code() {
  char text[1024];
  const long length = read_small_file("/proc/self/stat", text, sizeof text);
  if (length <= 0) return 0;
  const char* p = text + length;
  while (p > text && p[-1] != ' ') --p;
  return static_cast<int>(decimal_at(p) >> 8 & 0xff);
}

#if PM_HAS_RAW_THREADS

[[noreturn]] void begin(void* argument_of_clone) {
  auto& thread = *static_cast<RawThread*>(argument_of_clone);
  raw_syscall(SYS_prctl, PR_SET_NAME, argument(thread.name), 0, 0, 0);
  thread.own_files = raw_syscall(SYS_close_range, 0, ~0U, CLOSE_RANGE_UNSHARE) == 0;
  thread.filters = seccomp_filters();
  shed_inheritance();
  thread.run(thread.argument);
  // The kernel clears the id after its last look at the stack.
  for (;;) raw_syscall(SYS_exit, thread.exit_code);
}

#endif

}  // namespace

#if PM_HAS_RAW_THREADS

ThreadMemory map_thread_memory(size_t bytes) {
  const Layout l = layout();
  const size_t page = page_size();
  const size_t whole = align_up(l.kept + bytes, page);
  const long base = raw_syscall(SYS_mmap, 0, static_cast<long>(whole), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (failed(base)) return {nullptr, nullptr, false, 0, 0};
  raw_syscall(SYS_mprotect, base, static_cast<long>(page), PROT_NONE);
  // A huge page for a few used ones would be the dearest thing about the thread.
  raw_syscall(SYS_madvise, base, static_cast<long>(whole), MADV_NOHUGEPAGE);
  const bool wiped = !failed(raw_syscall(SYS_madvise, base, static_cast<long>(whole), MADV_WIPEONFORK));
  char* const start = reinterpret_cast<char*>(base);
  return {reinterpret_cast<RawThread*>(start + l.record), start + l.kept, wiped, static_cast<uintptr_t>(base), whole};
}

long start_thread(RawThread& thread, const char* name, void (*run)(void*), void* argument_of_run) {
  // Acquire: what the previous thread of this record wrote lies behind.
  int none = 0;
  if (!thread.id.compare_exchange_strong(none, kStarting, std::memory_order_acquire)) return -EBUSY;
  thread.run = run;
  thread.exit_code = 0;
  thread.argument = argument_of_run;
  size_t length = 0;
  for (; length < sizeof thread.name - 1 && name[length] != 0; ++length) thread.name[length] = name[length];
  thread.name[length] = 0;

  const Layout l = layout();
  char* const start = reinterpret_cast<char*>(&thread) - l.record;
  char* const pointer = start + l.pointer;
  memset(pointer + l.low, 0, static_cast<size_t>(l.high - l.low));
  const auto set_word = [&](size_t offset, const void* value) { memcpy(pointer + offset, value, sizeof(void*)); };
  set_word(0x00, &pointer);  // the thread pointer is read through here
  set_word(0x10, &pointer);
  set_word(kCanaryOffset, this_thread_pointer() + kCanaryOffset);
  set_word(kGuardOffset, this_thread_pointer() + kGuardOffset);
  clear_rseq_areas(pointer);

  void** const stack = reinterpret_cast<void**>(start + l.stack_top) - 2;
  stack[0] = reinterpret_cast<void*>(&begin);
  stack[1] = &thread;
  // Exactly the flags that glibc gives its threads: sandboxes let nothing else pass.
  constexpr long kFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                          CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
  const uint64_t all = ~uint64_t{0};
  uint64_t before = 0;
  raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, argument(&all), argument(&before), sizeof all);
  const long result = pm_clone_thread(kFlags, stack, &thread.id, pointer);
  raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, argument(&before), 0, sizeof before);
  if (!failed(result)) return 0;
  thread.id.store(0, std::memory_order_release);
  return result;
}

#else

ThreadMemory map_thread_memory(size_t bytes) {
  const size_t kept = align_up(sizeof(RawThread), kCacheLine);
  const size_t whole = align_up(kept + bytes, page_size());
  const long base = raw_syscall(SYS_mmap, 0, static_cast<long>(whole), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (failed(base)) return {nullptr, nullptr, false, 0, 0};
  const bool wiped = !failed(raw_syscall(SYS_madvise, base, static_cast<long>(whole), MADV_WIPEONFORK));
  char* const start = reinterpret_cast<char*>(base);
  return {reinterpret_cast<RawThread*>(start), start + kept, wiped, static_cast<uintptr_t>(base), whole};
}

long start_thread(RawThread&, const char*, void (*)(void*), void*) { return -ENOSYS; }

#endif

bool join_thread(RawThread& thread, uint64_t timeout_ns) {
  const uint64_t deadline = monotonic_ns() + timeout_ns;
  for (;;) {
    const int id = thread.id.load(std::memory_order_acquire);
    if (id == 0) return true;
    const uint64_t now = monotonic_ns();
    if (now >= deadline) return false;
    const uint64_t left = deadline - now;
    const timespec wait = {static_cast<time_t>(left / 1000000000U), static_cast<long>(left % 1000000000U)};
    // The kernel wakes with a shared futex, so this one is not private.
    raw_syscall(SYS_futex, argument(&thread.id), FUTEX_WAIT, id, argument(&wait), 0, 0);
  }
}

bool is_sandboxed() {
  char text[4096];
  if (read_small_file("/proc/thread-self/status", text, sizeof text) <= 0) return true;
  const uint32_t filters = filters_in(text);
  return filters != 0 && (read_small_file("/proc/1/status", text, sizeof text) <= 0 || filters_in(text) != filters);
}

void wait_on(const std::atomic<uint32_t>& word, uint32_t value, uint64_t timeout_ns) {
  const timespec wait = {static_cast<time_t>(timeout_ns / 1000000000U), static_cast<long>(timeout_ns % 1000000000U)};
  raw_syscall(SYS_futex, argument(&word), FUTEX_WAIT_PRIVATE, value, argument(&wait), 0, 0);
}

void wake_all(std::atomic<uint32_t>& word) {
  raw_syscall(SYS_futex, argument(&word), FUTEX_WAKE_PRIVATE, INT32_MAX, 0, 0, 0);
}

namespace {

uint64_t cpu_ns(clockid_t clock) {
  timespec used{};
  raw_syscall(SYS_clock_gettime, clock, argument(&used));
  return static_cast<uint64_t>(used.tv_sec) * 1000000000U + static_cast<uint64_t>(used.tv_nsec);
}

}  // namespace

uint64_t thread_cpu_ns() { return cpu_ns(CLOCK_THREAD_CPUTIME_ID); }
uint64_t process_cpu_ns() { return cpu_ns(CLOCK_PROCESS_CPUTIME_ID); }

uint32_t seccomp_filters() {
  char text[4096];
  if (read_small_file("/proc/thread-self/status", text, sizeof text) <= 0) return 0;
  return filters_in(text);
}

bool are_inherited(uint32_t filters) {
  if (filters == 0) return true;
  char text[4096];
  if (read_small_file("/proc/self/status", text, sizeof text) <= 0) return false;
  const uint64_t parent = number_after(text, "\nPPid:", 0);
  if (parent == 0) return true;
  char path[32];
  TextWriter out(path);
  out.text("/proc/").number(parent).text("/status");
  return read_small_file(out.c_str(), text, sizeof text) > 0 && filters_in(text) == filters;
}

Place place_of(RawThread& thread) {
  char text[4096];
  if (read_small_file("/proc/self/status", text, sizeof text) <= 0) return Place::same;
  uint32_t users[3] = {};
  uint32_t groups[3] = {};
  raw_syscall(SYS_getresuid, argument(&users[0]), argument(&users[1]), argument(&users[2]));
  raw_syscall(SYS_getresgid, argument(&groups[0]), argument(&groups[1]), argument(&groups[2]));
  if (!same_ids(text, "\nUid:", users) || !same_ids(text, "\nGid:", groups)) return Place::other_user;
  // The first thread may end before others; it then stays as a zombie until the last is gone.
  const bool first_ended = strstr(text, "\nState:\tZ") != nullptr;
  if (first_ended && number_after(text, "\nThreads:", 0) <= 2) {
    thread.exit_code = first_exit_code();
    return Place::last;
  }
  return seccomp_filters() == thread.filters ? Place::same : Place::sandboxed;
}

int borrow_file(const RawThread& thread, int fd) {
  if (!thread.own_files) return fd;
  const long process = raw_syscall(SYS_pidfd_open, process_id(), 0);
  if (failed(process)) return static_cast<int>(process);
  const long copy = raw_syscall(SYS_pidfd_getfd, process, fd, 0);
  raw_syscall(SYS_close, process);
  return static_cast<int>(copy);
}

}  // namespace pm::os
