// Huge blocks of one shard that hold slabs: runs of 1, 2, 4 ... granules, each aligned to its length.
//
// Blocks stand in lists by how many of their granules are used; a run is taken from the fullest block that has room, so
// that sparse blocks drain and come back whole. Within a block, granules that are resident already are preferred.
//
// Not synchronised: the caller holds the shard's lock.
#pragma once

#include <cstdint>

#include "page/extents.h"

namespace pm {

class SlabBlocks {
 public:
  // A run from the blocks at hand, or kNoGranule.
  GranuleIndex allocate(uint32_t granules, bool* clean);
  // Makes the extent of one huge block at `first` a block for slabs.
  void add(GranuleIndex first);
  // Gives a run back. Returns the block's first granule if it holds no slab any more (it has left the lists; the caller
  // releases it as an extent), kNoGranule otherwise.
  GranuleIndex release(GranuleIndex first, uint32_t granules);
  // Takes a run of free dirty granules, as if it were allocated, so that it can be decommitted; release() it
  // afterwards. kNoGranule if there is none. Emptiest blocks first; dense ones on a huge page, which that would break,
  // only if `break_dense`; pages of hugetlbfs never.
  GranuleIndex take_dirty(uint32_t* granules, bool break_dense);
  // A collapse made the whole block resident: its free granules are dirty from here on.
  void note_resident(uint32_t block);

  uint64_t blocks() const { return blocks_; }
  uint64_t used_granules() const { return used_; }
  uint64_t free_granules() const { return blocks_ * kBlockGranules - used_; }
  uint64_t dirty_granules() const { return dirty_; }
  void audit() const;

 private:
  void link(uint32_t block);
  void unlink(uint32_t block);
  void take(uint32_t block, uint32_t mask);

  // Block index plus one by number of used granules; a full block (32) is in the last list.
  uint32_t lists_[kBlockGranules + 1] = {};
  uint64_t nonempty_ = 0;  // bit n: lists_[n] holds a block
  uint64_t blocks_ = 0;
  uint64_t used_ = 0;
  uint64_t dirty_ = 0;  // free granules that may be resident
};

}  // namespace pm
