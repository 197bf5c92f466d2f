// How much of the heap may be resident: everything mapped but free clean granules and what is being decommitted. It
// rises when clean or fresh memory is taken into use, before its owner can touch it, and falls when memory is
// decommitted. So whoever allocated can compare it with a mark and undo what went too far; this layer only counts.
//
// One mark serves all purposes: its owner (the runtime) sets it to the nearest of what it wants to hear of.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/compiler.h"
#include "page/granule.h"

namespace pm {

// Changed under a shard's lock by what that shard's part changed: exact up to what is in flight. Relaxed: a sum.
extern PM_SHARED std::atomic<int64_t> exposed_granules;
// Relaxed: whoever misses a new mark compares with the old one once more.
extern PM_SHARED std::atomic<int64_t> exposure_mark;

inline uint64_t exposed_bytes() {
  const int64_t granules = exposed_granules.load(std::memory_order_relaxed);
  return granules > 0 ? static_cast<uint64_t>(granules) << kGranuleShift : 0;
}

inline bool is_over_mark() {
  return exposed_granules.load(std::memory_order_relaxed) > exposure_mark.load(std::memory_order_relaxed);
}

inline void mark_exposure(uint64_t bytes) {
  const auto granules = static_cast<int64_t>(bytes >> kGranuleShift);
  // Written only if it moves: every slow path reads it.
  if (exposure_mark.load(std::memory_order_relaxed) != granules) {
    exposure_mark.store(granules, std::memory_order_relaxed);
  }
}

// What the rest of the process wants to know of this layer some times a second. Takes the shards' locks one by one.
struct PageFigures {
  uint64_t committed_bytes;
  uint64_t exposed_bytes;
  uint64_t dirty_bytes;
  uint64_t decommitted_bytes;     // total since start
  uint64_t slab_run_bytes;        // granules in slabs
  uint64_t large_bytes;           // live
  uint64_t large_released_bytes;  // total since start
};
PageFigures page_figures();

}  // namespace pm
