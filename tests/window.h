// Where the region lies in tests. ThreadSanitizer keeps its shadow where the heap's window would be, so in that flavour
// the window moves to addresses that it takes for a program's own.
#ifndef POOLMALLOC_TESTS_WINDOW_H_
#define POOLMALLOC_TESTS_WINDOW_H_

#include "page/region.h"

namespace pm::test {

// A place away from the windows, where nothing lies by itself.
#if defined(POOLMALLOC_NO_RSEQ)
inline constexpr uintptr_t kFreePlace = 128 * kGiB;
#else
inline constexpr uintptr_t kFreePlace = uintptr_t{40} << 40;
#endif

// After page_init, before the first allocation.
inline void place_window() {
#if defined(POOLMALLOC_NO_RSEQ)
  region_view.base = 256 * kGiB;
#endif
}

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_WINDOW_H_
