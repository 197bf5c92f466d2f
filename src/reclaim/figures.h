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
  // By class; row 0 is large objects.
  const uint64_t (&live() const)[kMaxClasses] { return live_; }

 private:
  HeapFigures heap_ = {};
  uint64_t exposed_ = 0;
  uint64_t live_[kMaxClasses] = {};
  MagazineClassStatistics rows_[kMaxClasses] = {};  // too large for a small stack
};

}  // namespace pm
