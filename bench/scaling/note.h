// Between the two halves of the counting: the breakpoints, and what is counted.
#pragma once

#include <signal.h>

#include <cstdint>

namespace bench {

// A locked instruction is about to be executed by this thread; it writes to `address`, if that is known.
void note_locked(bool known, uintptr_t address);

// Sets a signal's handler, one that may be interrupted by itself and returns by a system call of our own.
void handle(int number, void (*handler)(int, siginfo_t*, void*));

}  // namespace bench
