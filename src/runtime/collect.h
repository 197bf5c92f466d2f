// Gathering a Snapshot: what of it costs a walk over the whole heap, and the rest.
#pragma once

#include "metrics/metrics.h"
#include "page/collapse.h"
#include "slab/slab.h"

namespace pm {

// What takes time in proportion to the heap: some 50 us for a small one, a millisecond for each gibibyte.
struct HeapWalk {
  SlabClassStatistics slabs[kMaxClasses];
  uint64_t live[kMaxClasses];     // objects of the program
  uint32_t counted[kMaxClasses];  // the same by the magazines' counters; the low bits, since those wrap
  HugeStatistics huge;
  uint64_t heap_resident_bytes;
  uint64_t table_bytes;  // of the region, the slabs' records, the magazines and the worker
};
void walk_heap(HeapWalk& out);

// Fills `out` with the present state, but for what `walk` found, as of then. Takes the page layer's locks one by one;
// allocates nothing.
void collect(const HeapWalk& walk, Snapshot& out);

}  // namespace pm
