#include "counters.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <x86intrin.h>

#include <atomic>

#include "../workloads/harness.h"
#include "note.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#define SYSCALL_DISPATCH_FILTER_ALLOW 0
#define SYSCALL_DISPATCH_FILTER_BLOCK 1
#endif

// The only code whose system calls the kernel does not hand back: the program's own, and the return from a handler.
asm(R"(
  .pushsection .text
  .globl bench_own_code, bench_own_code_end, bench_system_call, bench_return
bench_own_code:
bench_system_call:
  mov %rdi, %rax
  mov %rsi, %rdi
  mov %rdx, %rsi
  mov %rcx, %rdx
  mov %r8, %r10
  mov %r9, %r8
  mov 8(%rsp), %r9
  syscall
  ret
bench_return:
  mov $15, %eax
  syscall
  nop
bench_own_code_end:
  .popsection
)");
extern "C" {
long bench_system_call(long, long, long, long, long, long, long);
void bench_return();
extern const char bench_own_code[], bench_own_code_end[];
}

namespace bench {
namespace {

struct Thread {
  bool counting;
  char selector;
  uint32_t number;
  Counts counts;
};
thread_local Thread self = {};
std::atomic<uint32_t> threads_seen{0};
bool calls_armed = false;

// Lines that locked instructions wrote: open addressing, entries are never removed. Relaxed throughout: only counts.
struct Line {
  std::atomic<uint64_t> key;
  std::atomic<uint32_t> last_cpu, last_thread;  // plus one
  std::atomic<bool> cpus, threads;
};
constexpr size_t kLines = size_t{1} << 18;
Line lines[kLines];

void note_write(uintptr_t address) {
  const uint64_t key = address / 64;
  unsigned cpu = 0;
  __rdtscp(&cpu);
  cpu = (cpu & 0xfff) + 1;
  for (size_t i = 0, at = key * 0x9E3779B97F4A7C15u >> 46; i < kLines; ++i, at = (at + 1) % kLines) {
    Line& line = lines[at];
    uint64_t found = line.key.load(std::memory_order_relaxed);
    if (found == 0 && line.key.compare_exchange_strong(found, key, std::memory_order_relaxed)) found = key;
    if (found != key) continue;
    const uint32_t cpu_before = line.last_cpu.exchange(cpu, std::memory_order_relaxed);
    const uint32_t thread_before = line.last_thread.exchange(self.number, std::memory_order_relaxed);
    if (cpu_before != 0 && cpu_before != cpu) {
      ++self.counts.moved;
      line.cpus.store(true, std::memory_order_relaxed);
    }
    if (thread_before != 0 && thread_before != self.number) line.threads.store(true, std::memory_order_relaxed);
    return;
  }
  check(false, "counting so many cache lines");
}

void on_system_call(int, siginfo_t* info, void* context) {
  greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const long number = info->si_syscall;
  ++self.counts.system_calls;
  if (number >= 0 && number < static_cast<long>(kSystemCalls)) ++self.counts.by_number[number];
  if (number == SYS_futex) {
    const long operation = registers[REG_RSI] & FUTEX_CMD_MASK;
    const bool wakes = operation == FUTEX_WAKE || operation == FUTEX_WAKE_BITSET || operation == FUTEX_WAKE_OP ||
                       operation == FUTEX_UNLOCK_PI;
    ++(wakes ? self.counts.futex_wakes : self.counts.futex_waits);
  }
  registers[REG_RAX] = own_system_call(number, registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                                       registers[REG_R10], registers[REG_R8], registers[REG_R9]);
}

}  // namespace

void note_locked(bool known, uintptr_t address) {
  if (!self.counting) return;
  ++self.counts.locked;
  if (known) note_write(address);
}

void handle(int number, void (*handler)(int, siginfo_t*, void*)) {
  constexpr unsigned long kRestorer = 0x04000000;  // SA_RESTORER, which libc keeps to itself
  struct {
    void (*handler)(int, siginfo_t*, void*);
    unsigned long flags;
    void (*restorer)();
    unsigned long mask;
  } action = {handler, SA_SIGINFO | SA_NODEFER | kRestorer, bench_return, 0};
  check(own_system_call(SYS_rt_sigaction, number, reinterpret_cast<long>(&action), 0, sizeof action.mask) == 0,
        "setting a signal's handler");
}

long own_system_call(long number, long a, long b, long c, long d, long e, long f) {
  return bench_system_call(number, a, b, c, d, e, f);
}

void arm_system_calls() {
  handle(SIGSYS, on_system_call);
  calls_armed = true;
}

void begin() {
  self.number = threads_seen.fetch_add(1, std::memory_order_relaxed) + 1;
  self.counting = true;
  if (!calls_armed) return;
  const auto code = reinterpret_cast<long>(bench_own_code);
  check(own_system_call(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, code,
                        bench_own_code_end - bench_own_code, reinterpret_cast<long>(&self.selector)) == 0,
        "having system calls handed back (Linux 5.11)");
  self.selector = SYSCALL_DISPATCH_FILTER_BLOCK;
}

void end(Counts& sum) {
  self.selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  self.counting = false;
  sum = self.counts;
}

SharedLines shared_lines() {
  SharedLines sum = {};
  for (const Line& line : lines) {
    if (line.key.load(std::memory_order_relaxed) == 0) continue;
    ++sum.written;
    sum.by_cpus += line.cpus.load(std::memory_order_relaxed) ? 1 : 0;
    sum.by_threads += line.threads.load(std::memory_order_relaxed) ? 1 : 0;
  }
  return sum;
}

}  // namespace bench
