// CHECK: always; a broken invariant that threatens memory safety ends the process with one line.
// ASSERT: debug builds only, cheap.
// AUDIT: debug builds only, may walk a whole structure.
#pragma once

#include "base/compiler.h"

#ifndef POOLMALLOC_DEBUG
#define POOLMALLOC_DEBUG 0
#endif

namespace pm {

// Writes "poolmalloc: <what> (<file>:<line>)" to stderr and aborts. Provided by os/die.cc.
[[noreturn]] PM_COLD void die_check(const char* what, const char* file, int line);

}  // namespace pm

#define PM_CHECK(condition) \
  (PM_LIKELY(condition) ? static_cast<void>(0) : ::pm::die_check("broken invariant: " #condition, __FILE__, __LINE__))

#if POOLMALLOC_DEBUG
#define PM_ASSERT(condition) PM_CHECK(condition)
#define PM_AUDIT(condition) PM_CHECK(condition)
#else
#define PM_ASSERT(condition) static_cast<void>(sizeof(!(condition)))
#define PM_AUDIT(condition) static_cast<void>(sizeof(!(condition)))
#endif
