// Free extents of one shard: split, coalesce, find by the fit policy.
//
// A free extent is a run of granules, described by the ExtentRecord of its first granule; the record of its last
// granule names the first, so that both neighbours are found in constant time and merged at once. Nothing about
// coalescing is ever put off.
//
// There are two trees (page/extent_tree.h): extents with pages that may be resident (dirty), and clean ones. Allocation
// prefers dirty ones: reusing a resident page costs no fault and does not raise the resident size.
//
// One free extent, the one released or left over last, lies beside the trees. An object that is freed and allocated
// again, or cut off an extent and merged with it again, costs neither an insertion nor an erasure. It is
// compared with what the tree offers, so the policy decides as if it were in there.
//
// Not synchronised: the caller holds the shard's lock.
#pragma once

#include <cstdint>

#include "page/extent_tree.h"
#include "page/region.h"

namespace pm {

struct ExtentCounters {
  uint64_t hits;         // allocations served from a free extent
  uint64_t splits;       // free extents cut in two
  uint64_t coalesces;    // neighbouring free extents joined
  uint64_t coalescable;  // releases next to a free extent, or to one on its way to become free
  uint64_t coalesced;    // of those, releases that were merged with all such neighbours at once
};

class Extents {
 public:
  explicit constexpr Extents(uint8_t shard) : shard_(shard) {}

  // Takes `granules` aligned to `alignment` granules (a power of two). kNoGranule if nothing is found. The record of
  // the first one says how many of them may be resident (`dirty`); if none, all of it is known to read as zero.
  GranuleIndex allocate(uint32_t granules, uint32_t alignment);
  // The same from extents without any dirty granule alone; `alignment` of more than one granule.
  GranuleIndex allocate_clean(uint32_t granules, uint32_t alignment);
  // Gives a run back; its dirty bits say what may be resident, `dirty` how many they are. Merges with both neighbours.
  void release(GranuleIndex first, uint32_t granules, uint32_t dirty);
  void release(GranuleIndex first, uint32_t granules);
  // The same for what take_dirty() took, which the program freed long ago.
  void put_back(GranuleIndex first, uint32_t granules);
  // Makes the run longer by taking from the free extent behind it. False if that is absent or too short.
  bool extend(GranuleIndex first, uint32_t granules, uint32_t wanted);

  // Takes the end of the largest dirty extent away (state busy) for its pages to be decommitted: whole huge blocks, as
  // many as have `goal` dirty granules, or all of it. kNoGranule if none is dirty. put_back() it afterwards.
  GranuleIndex take_dirty(uint64_t goal);

  uint64_t dirty_granules() const { return dirty_; }
  // Those in extents of a huge block or more.
  uint64_t dirty_block_granules() const { return dirty_blocks_; }
  uint64_t free_granules() const { return free_; }
  uint32_t largest_granules() const;
  const ExtentCounters& counters() const { return counters_; }
  void audit() const;

 private:
  // What lay at both sides of a run.
  struct Neighbours {
    unsigned joined;  // free
    unsigned busy;    // about to be
  };
  Neighbours merge(GranuleIndex first, uint32_t granules, uint32_t dirty);
  void add(GranuleIndex first, uint32_t granules, uint32_t dirty);
  void remove(GranuleIndex extent);
  ExtentTree& tree_of(GranuleIndex extent) { return region.extent(extent).dirty != 0 ? dirtied_ : clean_; }
  void file_aside();
  GranuleIndex find(uint32_t granules) const;
  GranuleIndex cut(GranuleIndex extent, uint32_t granules, uint32_t alignment);

  const uint8_t shard_;
  ExtentTree clean_;
  ExtentTree dirtied_;
  uint32_t aside_ = 0;         // the extent beside the trees: granule index plus one
  uint64_t free_ = 0;          // granules of all free extents
  uint64_t dirty_ = 0;         // of those, granules that may be resident
  uint64_t dirty_blocks_ = 0;  // of those, granules in extents of a huge block or more
  ExtentCounters counters_ = {};
};

// Dirty bits: granules that may be resident. Guarded by the lock of the shard that owns the granules.
void mark_dirty(GranuleIndex first, uint32_t granules);
void mark_clean(GranuleIndex first, uint32_t granules);
uint32_t count_dirty(GranuleIndex first, uint32_t granules);
inline bool is_dirty(GranuleIndex g) { return (region.block(g).dirty >> (g % kBlockGranules) & 1U) != 0; }

}  // namespace pm
