// What the allocator knows of itself, gathered from its layers for a sample; and live bytes a class, for the leak
// watch.
#pragma once

#include <cstdint>

#include "forecast/sample.h"
#include "magazine/magazine.h"

namespace pm {

class Figures {
 public:
  // Reads the layers: counters, and the page layer's locks one by one.
  void gather();

  const HeapFigures& heap() const { return heap_; }
  uint64_t exposed_bytes() const { return exposed_; }
  // Memory of free slots in slabs that came free since the pages of sparse slabs were decommitted last, or since there
  // was least of it. So what cannot be given back, because it shares pages with objects, counts once at most. It is not
  // part of heap().used_bytes.
  uint64_t sparse_bytes() const { return sparse_; }
  // All free slots: what a last resort may try.
  uint64_t slab_free_bytes() const { return slab_free_; }
  // The pages of sparse slabs were decommitted: what is free in slabs now is not sparse any more.
  void note_slabs_decommitted() { least_slab_free_ = UINT64_MAX; }
  // By class; row 0 is large objects.
  const uint64_t (&live() const)[kMaxClasses] { return live_; }

 private:
  HeapFigures heap_ = {};
  void find_sparse(uint64_t slab_free);

  uint64_t exposed_ = 0;
  uint64_t slab_free_ = 0;
  uint64_t sparse_ = 0;
  uint64_t least_slab_free_ = UINT64_MAX;  // since the last decommit
  uint64_t live_[kMaxClasses] = {};
  MagazineClassStatistics rows_[kMaxClasses] = {};  // too large for a small stack
};

}  // namespace pm
