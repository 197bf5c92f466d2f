// Counts the instructions that a piece of code executes, one by one, in a child that is single-stepped.
//
// A step inside a restartable sequence would abort it, for ever. So after each step the announcement of a sequence is
// wiped out of the child's memory; the child has one thread, and the caller stays on one CPU, so nothing comes between.
#pragma once

#include <cstdint>

namespace bench {

// Instructions per turn of body(turns), after prepare() and many turns untraced; less than 0 if this system allows no
// tracing.
double instructions_per_turn(void (*prepare)(), void (*body)(uint64_t turns), uint64_t turns);

}  // namespace bench
