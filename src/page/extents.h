// Free extents of one shard: split, coalesce, best fit.
//
// A free extent is a run of granules, described by the ExtentRecord of its first granule; the record of its last
// granule names the first, so that both neighbours are found in constant time and merged at once. Extents are nodes of
// a treap (Seidel and Aragon, "Randomized search trees", 1996) ordered by size, then address; priorities are hashes of
// the address, so they need no room. The smallest extent that fits, at the lowest address, is found in O(log n).
//
// There are two trees: extents with pages that may be resident (dirty), and clean ones. Allocation prefers dirty ones:
// reusing a resident page costs no fault and does not raise the resident size.
//
// Not synchronised: the caller holds the shard's lock.
#pragma once

#include <cstdint>

#include "page/region.h"

namespace pm {

class ExtentTree {
 public:
  void insert(GranuleIndex extent);
  void erase(GranuleIndex extent);
  // The smallest extent with at least `granules`, or kNoGranule.
  GranuleIndex best_fit(uint32_t granules) const;
  // The extent next in order, or kNoGranule.
  GranuleIndex next(GranuleIndex extent) const;
  GranuleIndex largest() const;
  bool empty() const { return root_ == 0; }
  uint32_t count() const { return count_; }
  // Debug: order, priorities, count.
  void audit() const;

 private:
  uint32_t root_ = 0;  // granule index plus one
  uint32_t count_ = 0;
};

inline constexpr GranuleIndex kNoGranule = UINT32_MAX;

struct ExtentCounters {
  uint64_t hits;  // allocations served from a free extent
  uint64_t splits;
  uint64_t coalesces;
};

class Extents {
 public:
  explicit constexpr Extents(uint8_t shard) : shard_(shard) {}

  // Takes `granules` aligned to `alignment` granules (a power of two). kNoGranule if nothing fits. `clean` says whether
  // all of it is known to read as zero.
  GranuleIndex allocate(uint32_t granules, uint32_t alignment, bool* clean);
  // Gives a run back; its dirty bits say what may be resident. Merges with both neighbours.
  void release(GranuleIndex first, uint32_t granules);
  // Makes the run longer by taking from the free extent behind it. False if that is absent or too short.
  bool extend(GranuleIndex first, uint32_t granules, uint32_t wanted);

  // Takes the largest dirty extent out of the trees (state busy) for its pages to be decommitted; kNoGranule if none.
  // release() it afterwards.
  GranuleIndex take_dirty();

  uint64_t dirty_granules() const { return dirty_; }
  uint64_t free_granules() const { return free_; }
  uint32_t largest_granules() const;
  const ExtentCounters& counters() const { return counters_; }
  void audit() const;

 private:
  void add(GranuleIndex first, uint32_t granules, uint32_t dirty);
  void remove(GranuleIndex extent);
  GranuleIndex find(const ExtentTree& tree, uint32_t granules, uint32_t alignment, GranuleIndex* at) const;

  const uint8_t shard_;
  ExtentTree clean_;
  ExtentTree dirtied_;
  uint64_t free_ = 0;   // granules in both trees
  uint64_t dirty_ = 0;  // of those, granules that may be resident
  ExtentCounters counters_ = {};
};

// Dirty bits: granules that may be resident. Guarded by the lock of the shard that owns the granules.
void mark_dirty(GranuleIndex first, uint32_t granules);
void mark_clean(GranuleIndex first, uint32_t granules);
uint32_t count_dirty(GranuleIndex first, uint32_t granules);
inline bool is_dirty(GranuleIndex g) { return (region.block(g).dirty >> (g % kBlockGranules) & 1U) != 0; }

}  // namespace pm
