// The clock of the latency programs: the processor's counter.
#pragma once

#include <x86intrin.h>

#include <cstdint>

namespace bench {

// The fences keep the call's own instructions inside two readings and everybody else's outside.
inline uint64_t ticks() {
  _mm_lfence();
  const uint64_t now = __rdtsc();
  _mm_lfence();
  return now;
}

}  // namespace bench
