#include "page/extents.h"

#include "base/check.h"

namespace pm {
namespace {

// The bits of [first, first + granules) that fall into the huge block of `first`.
uint32_t block_mask(GranuleIndex first, uint32_t granules) {
  const uint32_t bit = first % kBlockGranules;
  const uint32_t room = kBlockGranules - bit;
  return static_cast<uint32_t>(low_bits(granules < room ? granules : room) << bit);
}

template <typename Use>
void each_block(GranuleIndex first, uint32_t granules, Use use) {
  while (granules > 0) {
    const uint32_t room = kBlockGranules - first % kBlockGranules;
    const uint32_t step = granules < room ? granules : room;
    use(region.block(first), block_mask(first, step));
    first += step;
    granules -= step;
  }
}

// The shard's lock is held, so nobody else writes. Relaxed: an owner looks at its own granule's bit only, which its
// shard wrote before it handed the granule out.
void set_dirty(BlockRecord& block, uint32_t bits) { block.dirty.store(bits, std::memory_order_relaxed); }

}  // namespace

void mark_dirty(GranuleIndex first, uint32_t granules) {
  each_block(first, granules, [](BlockRecord& block, uint32_t mask) {
    set_dirty(block, block.dirty | mask);
    block.settled.store(0, std::memory_order_relaxed);  // something in it was given back
  });
}

void mark_clean(GranuleIndex first, uint32_t granules) {
  each_block(first, granules, [](BlockRecord& block, uint32_t mask) { set_dirty(block, block.dirty & ~mask); });
}

uint32_t count_dirty(GranuleIndex first, uint32_t granules) {
  uint32_t count = 0;
  each_block(first, granules, [&](const BlockRecord& block, uint32_t mask) {
    const uint32_t bits = block.dirty.load(std::memory_order_relaxed) & mask;
    // Nearly all blocks of a long run are all dirty or all clean.
    if (bits == UINT32_MAX) {
      count += kBlockGranules;
    } else if (bits != 0) {
      count += count_bits(bits);
    }
  });
  return count;
}

// `dirty` is count_dirty of the run, which its callers know without counting all of a long one again.
void Extents::add(GranuleIndex first, uint32_t granules, uint32_t dirty) {
  ExtentRecord& r = region.extent(first);
  PM_AUDIT(dirty == count_dirty(first, granules));
  r.granules = granules;
  r.dirty = dirty;
  r.state.store(ExtentState::free, std::memory_order_release);
  region.extent(first + granules - 1).head.store(first, std::memory_order_relaxed);
  free_ += granules;
  dirty_ += dirty;
  if (granules >= kBlockGranules) dirty_blocks_ += dirty;
  file_aside();
  aside_ = first + 1;
}

void Extents::remove(GranuleIndex extent) {
  ExtentRecord& r = region.extent(extent);
  if (aside_ == extent + 1) {
    aside_ = 0;
  } else {
    tree_of(extent).erase(extent);
  }
  free_ -= r.granules;
  dirty_ -= r.dirty;
  if (r.granules >= kBlockGranules) dirty_blocks_ -= r.dirty;
  r.state.store(ExtentState::none, std::memory_order_release);
}

void Extents::file_aside() {
  if (aside_ == 0) return;
  tree_of(aside_ - 1).insert(aside_ - 1);
  aside_ = 0;
}

void Extents::release(GranuleIndex first, uint32_t granules) { release(first, granules, count_dirty(first, granules)); }

void Extents::release(GranuleIndex first, uint32_t granules, uint32_t dirty) {
  const Neighbours met = merge(first, granules, dirty);
  counters_.coalescable += met.joined + met.busy != 0;
  counters_.coalesced += met.joined != 0 && met.busy == 0;
}

void Extents::put_back(GranuleIndex first, uint32_t granules) { merge(first, granules, count_dirty(first, granules)); }

Extents::Neighbours Extents::merge(GranuleIndex first, uint32_t granules, uint32_t dirty) {
  region.extent(first).state.store(ExtentState::none, std::memory_order_release);
  Neighbours met = {0, 0};
  // True if the extent is free, and now part of the run.
  const auto join = [&](GranuleIndex neighbour) {
    const ExtentRecord& r = region.extent(neighbour);
    const ExtentState state = r.state.load(std::memory_order_relaxed);
    met.busy += state == ExtentState::busy;
    if (state != ExtentState::free) return false;
    granules += r.granules;
    dirty += r.dirty;
    remove(neighbour);
    ++met.joined;
    return true;
  };
  const GranuleIndex behind = first + granules;
  if (region.is_owned_by(behind, shard_)) join(behind);
  if (first > region.first_granule() && region.is_owned_by(first - 1, shard_)) {
    // `head` may be a leftover; it counts only if it names an extent that ends exactly here.
    const GranuleIndex head = region.extent(first - 1).head.load(std::memory_order_relaxed);
    if (head < first && region.is_owned_by(head, shard_) && head + region.extent(head).granules == first) {
      if (join(head)) first = head;
    }
  }
  counters_.coalesces += met.joined;
  add(first, granules, dirty);
  return met;
}

// What the policy takes: a dirty extent rather than a clean one, and of these the first in its order.
GranuleIndex Extents::find(uint32_t granules) const {
  const bool aside_fits = aside_ != 0 && region.extent(aside_ - 1).granules >= granules;
  const bool aside_dirty = aside_fits && region.extent(aside_ - 1).dirty != 0;
  GranuleIndex found = dirtied_.first({granules, 0});
  if (aside_dirty) return found == kNoGranule || is_before(aside_ - 1, found) ? aside_ - 1 : found;
  if (found != kNoGranule) return found;
  found = clean_.first({granules, 0});
  if (aside_fits) return found == kNoGranule || is_before(aside_ - 1, found) ? aside_ - 1 : found;
  return found;
}

namespace {

GranuleIndex place_in(GranuleIndex extent, uint32_t granules, uint32_t alignment) {
  const auto start = static_cast<GranuleIndex>(align_up(extent, alignment));
  return start - extent + granules <= region.extent(extent).granules ? start : kNoGranule;
}

// Looks at up to `tries` extents that are long enough, in order, for one that the aligned run fits into.
GranuleIndex try_aligned(const ExtentTree& tree, uint32_t granules, uint32_t alignment, unsigned tries) {
  GranuleIndex candidate = tree.first({granules, 0});
  for (; candidate != kNoGranule && tries > 0; --tries) {
    if (place_in(candidate, granules, alignment) != kNoGranule) return candidate;
    candidate = tree.next(candidate, granules);
  }
  return kNoGranule;
}

// An extent in which an aligned run fits. First a few that the policy would take if it were not for alignment. Then one
// that must have room: a natural run at least as long, or so long that alignment cannot fail. Then, rather than
// growing the heap, as many more as keeps the time bounded.
GranuleIndex find_aligned(const ExtentTree& tree, uint32_t granules, uint32_t alignment) {
  constexpr unsigned kFew = 8;
  constexpr unsigned kMany = 512;
  GranuleIndex found = kNoGranule;
  // Exactly a natural run is what a block of slabs is.
  if (granules != alignment) found = try_aligned(tree, granules, alignment, kFew);
  if (found == kNoGranule && granules <= alignment) found = tree.first({1, log2_floor(alignment)});
  if (found == kNoGranule) found = tree.first({granules + alignment - 1, 0});
  if (found == kNoGranule && granules != alignment) found = try_aligned(tree, granules, alignment, kMany);
  return found;
}

}  // namespace

GranuleIndex Extents::allocate(uint32_t granules, uint32_t alignment) {
  GranuleIndex extent = kNoGranule;
  if (alignment == 1) {
    extent = find(granules);
  } else {
    file_aside();
    extent = find_aligned(dirtied_, granules, alignment);
    if (extent == kNoGranule) extent = find_aligned(clean_, granules, alignment);
  }
  return extent == kNoGranule ? kNoGranule : cut(extent, granules, alignment);
}

GranuleIndex Extents::allocate_clean(uint32_t granules, uint32_t alignment) {
  file_aside();
  const GranuleIndex extent = find_aligned(clean_, granules, alignment);
  return extent == kNoGranule ? kNoGranule : cut(extent, granules, alignment);
}

// Takes the run out of a free extent in which it fits.
GranuleIndex Extents::cut(GranuleIndex extent, uint32_t granules, uint32_t alignment) {
  GranuleIndex at = static_cast<GranuleIndex>(align_up(extent, alignment));
  const uint32_t total = region.extent(extent).granules;
  const uint32_t total_dirty = region.extent(extent).dirty;
  // An extent that is dirty at its end only serves from there.
  const bool mixed = total_dirty != 0 && total_dirty != total;
  if (mixed && alignment == 1 && total > granules && !is_dirty(extent) && is_dirty(extent + total - 1)) {
    at = extent + total - granules;
  }
  remove(extent);
  ++counters_.hits;
  const uint32_t front = at - extent;
  const uint32_t back = total - front - granules;
  // Bits are counted only where some are set and some not.
  const auto dirty_in = [&](GranuleIndex first, uint32_t length) {
    return mixed ? count_dirty(first, length) : total_dirty == 0 ? 0 : length;
  };
  const uint32_t dirty = dirty_in(at, granules);
  const uint32_t front_dirty = dirty_in(extent, front);
  if (front != 0) add(extent, front, front_dirty);
  if (back != 0) add(at + granules, back, total_dirty - dirty - front_dirty);
  counters_.splits += (front != 0) + (back != 0);
  region.extent(at).dirty = dirty;
  return at;
}

bool Extents::extend(GranuleIndex first, uint32_t granules, uint32_t wanted) {
  const GranuleIndex behind = first + granules;
  const uint32_t missing = wanted - granules;
  if (!region.is_owned_by(behind, shard_)) return false;
  const ExtentRecord& right = region.extent(behind);
  if (right.state.load(std::memory_order_relaxed) != ExtentState::free || right.granules < missing) return false;
  const uint32_t rest = right.granules - missing;
  const uint32_t taken_dirty = count_dirty(behind, missing);
  const uint32_t rest_dirty = right.dirty - taken_dirty;
  remove(behind);
  if (rest != 0) {
    add(behind + missing, rest, rest_dirty);
    ++counters_.splits;
  }
  region.extent(first).granules = wanted;
  region.extent(first).dirty += taken_dirty;
  return true;
}

PM_RARE GranuleIndex Extents::take_dirty(uint64_t goal) {
  file_aside();
  const GranuleIndex extent = dirtied_.largest();
  if (extent == kNoGranule) return kNoGranule;
  const uint32_t total = region.extent(extent).granules;
  const uint32_t total_dirty = region.extent(extent).dirty;
  GranuleIndex at = extent + total;
  uint32_t dirty = 0;
  while (at > extent && dirty < goal) {
    const auto block = static_cast<GranuleIndex>(align_down(at - 1, kBlockGranules));
    const GranuleIndex from = block > extent ? block : extent;
    dirty += count_dirty(from, at - from);
    at = from;
  }
  // A rest without dirty granules may as well stay where it is.
  if (dirty == total_dirty) at = extent;
  remove(extent);
  if (at != extent) {
    add(extent, at - extent, total_dirty - dirty);
    ++counters_.splits;
  }
  region.extent(at).granules = extent + total - at;
  region.extent(at).dirty = dirty;
  region.extent(extent + total - 1).head.store(at, std::memory_order_relaxed);
  region.extent(at).state.store(ExtentState::busy, std::memory_order_release);
  return at;
}

uint32_t Extents::largest_granules() const {
  uint32_t largest = aside_ == 0 ? 0 : region.extent(aside_ - 1).granules;
  for (const ExtentTree* tree : {&clean_, &dirtied_}) {
    if (tree->largest_granules() > largest) largest = tree->largest_granules();
  }
  return largest;
}

void Extents::audit() const {
  clean_.audit();
  dirtied_.audit();
  if (aside_ == 0) return;
  const ExtentRecord& r = region.extent(aside_ - 1);
  PM_CHECK(r.state.load(std::memory_order_relaxed) == ExtentState::free);
  PM_CHECK(r.dirty == count_dirty(aside_ - 1, r.granules));
}

}  // namespace pm
