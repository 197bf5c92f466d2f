// Starts the layers up to the one under test, with small and fixed settings.
#ifndef POOLMALLOC_TESTS_UNIT_LAYERS_H_
#define POOLMALLOC_TESTS_UNIT_LAYERS_H_

#include "magazine/magazine.h"
#include "page/page.h"
#include "slab/slab.h"
#include "tests/unit/fresh_process.h"
#include "tests/window.h"

namespace pm::test {

inline void start_pages(uint64_t dirty_bytes = 64 * kMiB) {
  EXPECT(page_init({.reserve_bytes = kGiB, .dirty_bytes = dirty_bytes, .huge = HugeMode::never}));
  place_window();
}

inline void start_slabs() {
  start_pages();
  EXPECT(slab_init());
}

inline void start_magazines(bool rseq, uint64_t magazine_bytes = 2 * kMiB, uint64_t depot_bytes = 4 * kMiB) {
  start_slabs();
  EXPECT(magazine_init({.magazine_bytes = magazine_bytes,
                        .depot_bytes = depot_bytes,
                        .allow_rseq = rseq,
                        .use_mm_cid = false,
                        .checked = true}));
}

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_UNIT_LAYERS_H_
