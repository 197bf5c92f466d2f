#include "instructions.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "os/cpu.h"

namespace bench {
namespace {

constexpr uint64_t kWarmUp = 1000;

[[noreturn]] void run_child(void (*prepare)(), void (*body)(uint64_t), uint64_t turns, const int report) {
  prepare();
  body(kWarmUp);
  // Where the kernel is told of sequences; known only once the heap has started.
  const uintptr_t announced = reinterpret_cast<uintptr_t>(__builtin_thread_pointer()) +
                              static_cast<uintptr_t>(pm::os::rseq_area_offset) + offsetof(pm::os::RseqArea, rseq_cs);
  if (write(report, &announced, sizeof announced) != sizeof announced ||
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0)
    _exit(2);
  asm volatile("int3");
  body(turns);
  asm volatile("int3");
  _exit(0);
}

// SIGTRAP by a breakpoint, not by a step.
bool at_breakpoint(pid_t child) {
  siginfo_t info = {};
  return ptrace(PTRACE_GETSIGINFO, child, nullptr, &info) == 0 && info.si_code == SI_KERNEL;
}

uintptr_t next_instruction(pid_t child) {
  return static_cast<uintptr_t>(ptrace(PTRACE_PEEKUSER, child, offsetof(user_regs_struct, rip), nullptr));
}

// The steps from the first breakpoint to the second. A repeated string instruction (rep stos) is stopped after each of
// its rounds, with itself to come next; that is one instruction still.
int64_t count_steps(pid_t child, uintptr_t announced) {
  int64_t steps = 0;
  uintptr_t before = next_instruction(child);
  for (int status;;) {
    if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) return -1;
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) return -1;
    if (at_breakpoint(child)) return steps;
    const uintptr_t now = next_instruction(child);
    steps += now != before;
    before = now;
    if (ptrace(PTRACE_POKEDATA, child, reinterpret_cast<void*>(announced), nullptr) != 0) return -1;
  }
}

}  // namespace

double instructions_per_turn(void (*prepare)(), void (*body)(uint64_t turns), uint64_t turns) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return -1;
  if (child == 0) run_child(prepare, body, turns, ends[1]);
  close(ends[1]);
  uintptr_t announced = 0;
  const bool told = read(ends[0], &announced, sizeof announced) == sizeof announced;
  close(ends[0]);
  int status;
  int64_t steps = -1;
  if (waitpid(child, &status, 0) != child) return -1;
  if (told && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP) steps = count_steps(child, announced);
  if (WIFSTOPPED(status)) {
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
  }
  return steps < 0 ? -1 : static_cast<double>(steps) / static_cast<double>(turns);
}

}  // namespace bench
