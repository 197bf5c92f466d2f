// The heap over layers that the test starts itself, so that it serves under a sanitizer too.
#ifndef POOLMALLOC_TESTS_UNIT_WITH_HEAP_H_
#define POOLMALLOC_TESTS_UNIT_WITH_HEAP_H_

#include "heap/heap.h"
#include "heap/misuse.h"
#include "tests/unit/layers.h"

namespace pm::test {

// Runs the body in a fresh process for each way in which magazines are reached. Misuse is counted, and not the end.
template <typename Body>
void with_heap(Body body) {
  for (const bool rseq : {true, false}) {
    INFO((rseq ? "rseq" : "locked"));
    in_fresh_process([&] {
      start_magazines(rseq);
      heap_view.checked = true;
      heap_view.small_limit = kMaxClassSize + 1;
      abort_on_misuse = false;
      body();
    });
  }
}

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_UNIT_WITH_HEAP_H_
