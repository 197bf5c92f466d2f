// Counts, from inside the process, what other libraries do between begin() and end() of a thread: instructions that
// lock the bus or a cache line, where they write, and system calls.
//
// Locked instructions: arm() puts a breakpoint on each that `scripts/bench scaling` found in the libraries. The trap's
// handler notes the address and goes on in a copy of the instruction, so it is executed as it is, with all CPUs at
// work. System calls: the kernel hands each back to this process (PR_SET_SYSCALL_USER_DISPATCH, Linux 5.11), which
// notes it and executes it. The hot path runs untouched in either way, restartable sequences too.
//
// x86-64 Linux. arm() while no other thread executes the libraries; the rest from any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bench {

inline constexpr size_t kSystemCalls = 512;

struct Counts {
  uint64_t locked;  // locked instructions
  uint64_t moved;   // of those, writes to a line that another CPU wrote last by a locked instruction
  uint64_t futex_waits;
  uint64_t futex_wakes;
  uint64_t system_calls;  // all, futexes too
  uint32_t by_number[kSystemCalls];
};

// Prints the libraries of this process, one path a line.
void print_libraries();

// Reads the list of instructions and sets the breakpoints; and takes them away, which must be before any thread ends:
// libc blocks signals then, and a trap would kill.
void arm_locked(const char* list);
void disarm_locked();
// Makes begin() ask the kernel for this thread's system calls.
void arm_system_calls();

// From here to end() what the libraries do in this thread counts.
void begin();
void end(Counts& sum);

// Lines that more than one CPU, and more than one thread, wrote by locked instructions.
struct SharedLines {
  uint64_t written, by_cpus, by_threads;
};
SharedLines shared_lines();

// A system call of the program itself, which is not counted.
long own_system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0);

}  // namespace bench
