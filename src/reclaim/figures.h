// What the allocator knows of itself, gathered from its layers for a sample; and live bytes a class, for the leak
// watch.
#pragma once

#include <cstdint>

#include "forecast/sample.h"
#include "magazine/magazine.h"

namespace pm {

// Free slots in slabs: what of them may be given back, and what was. Pure arithmetic.
class SlabFree {
 public:
  // `free_bytes` are free now; `hollowed_bytes` is the total of what was decommitted inside slabs so far.
  void update(uint64_t free_bytes, uint64_t hollowed_bytes);
  // Not all that was asked for could be decommitted: what is left is not sparse.
  void note_exhausted() { least_ = UINT64_MAX; }

  uint64_t free_bytes() const { return free_; }
  // Came free since the slabs were exhausted last, or since there was least of it. So what cannot be given back,
  // because it shares pages with objects, counts once at most.
  uint64_t sparse_bytes() const { return sparse_; }
  // Free and decommitted. Slots whose pages are there are taken into use first, so this goes last.
  uint64_t hollow_bytes() const { return hollow_; }

 private:
  uint64_t free_ = 0;
  uint64_t sparse_ = 0;
  uint64_t hollow_ = 0;
  uint64_t hollowed_ = 0;        // the total seen last
  uint64_t least_ = UINT64_MAX;  // not hollow, since the slabs were exhausted last
};

class Figures {
 public:
  // Reads the layers: counters, and the page layer's locks one by one.
  void gather();

  const HeapFigures& heap() const { return heap_; }
  uint64_t exposed_bytes() const { return exposed_; }
  // Free slots in slabs. Neither the sparse nor the hollow ones are part of heap().used_bytes.
  const SlabFree& slab_free() const { return slab_free_; }
  void note_slabs_exhausted() { slab_free_.note_exhausted(); }
  // By class; row 0 is large objects.
  const uint64_t (&live() const)[kMaxClasses] { return live_; }

 private:
  HeapFigures heap_ = {};
  uint64_t exposed_ = 0;
  SlabFree slab_free_;
  uint64_t live_[kMaxClasses] = {};
  MagazineClassStatistics rows_[kMaxClasses] = {};  // too large for a small stack
};

}  // namespace pm
