#include "page/extents.h"

#include "base/check.h"

namespace pm {
namespace {

// Tree nodes are named by granule index plus one, so that zeroed records have no children.
ExtentRecord& record(uint32_t node) { return region.extent(node - 1); }

bool before(uint32_t a, uint32_t b) {
  const uint32_t size_a = record(a).granules;
  const uint32_t size_b = record(b).granules;
  return size_a != size_b ? size_a < size_b : a < b;
}

uint32_t priority(uint32_t node) { return mix32(node); }

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

}  // namespace

namespace {
// The shard's lock is held, so nobody else writes. Relaxed: an owner looks at its own granule's bit only, which its
// shard wrote before it handed the granule out.
void set_dirty(BlockRecord& block, uint32_t bits) { block.dirty.store(bits, std::memory_order_relaxed); }
}  // namespace

void mark_dirty(GranuleIndex first, uint32_t granules) {
  each_block(first, granules, [](BlockRecord& block, uint32_t mask) { set_dirty(block, block.dirty | mask); });
}

void mark_clean(GranuleIndex first, uint32_t granules) {
  each_block(first, granules, [](BlockRecord& block, uint32_t mask) { set_dirty(block, block.dirty & ~mask); });
}

uint32_t count_dirty(GranuleIndex first, uint32_t granules) {
  uint32_t count = 0;
  each_block(first, granules,
             [&](const BlockRecord& block, uint32_t mask) { count += count_bits(block.dirty & mask); });
  return count;
}

// Descends to where the new node's priority puts it, and splits the subtree found there around it.
void ExtentTree::insert(GranuleIndex extent) {
  const uint32_t node = extent + 1;
  uint32_t* link = &root_;
  while (*link != 0 && priority(*link) >= priority(node)) {
    link = before(node, *link) ? &record(*link).left : &record(*link).right;
  }
  uint32_t rest = *link;
  *link = node;
  uint32_t* lesser = &record(node).left;
  uint32_t* greater = &record(node).right;
  while (rest != 0) {
    if (before(rest, node)) {
      *lesser = rest;
      lesser = &record(rest).right;
      rest = *lesser;
    } else {
      *greater = rest;
      greater = &record(rest).left;
      rest = *greater;
    }
  }
  *lesser = 0;
  *greater = 0;
  ++count_;
}

// Replaces the node by the merge of its two subtrees.
void ExtentTree::erase(GranuleIndex extent) {
  const uint32_t node = extent + 1;
  uint32_t* link = &root_;
  while (*link != node) {
    PM_CHECK(*link != 0);
    link = before(node, *link) ? &record(*link).left : &record(*link).right;
  }
  uint32_t lesser = record(node).left;
  uint32_t greater = record(node).right;
  while (lesser != 0 && greater != 0) {
    if (priority(lesser) >= priority(greater)) {
      *link = lesser;
      link = &record(lesser).right;
      lesser = *link;
    } else {
      *link = greater;
      link = &record(greater).left;
      greater = *link;
    }
  }
  *link = lesser != 0 ? lesser : greater;
  --count_;
}

GranuleIndex ExtentTree::best_fit(uint32_t granules) const {
  uint32_t best = 0;
  for (uint32_t node = root_; node != 0;) {
    if (record(node).granules >= granules) {
      best = node;
      node = record(node).left;
    } else {
      node = record(node).right;
    }
  }
  return best - 1;
}

GranuleIndex ExtentTree::next(GranuleIndex extent) const {
  uint32_t best = 0;
  for (uint32_t node = root_; node != 0;) {
    if (before(extent + 1, node)) {
      best = node;
      node = record(node).left;
    } else {
      node = record(node).right;
    }
  }
  return best - 1;
}

GranuleIndex ExtentTree::largest() const {
  uint32_t node = root_;
  while (node != 0 && record(node).right != 0) node = record(node).right;
  return node - 1;
}

void ExtentTree::audit() const {
  uint32_t seen = 0;
  if (root_ == 0) {
    PM_CHECK(count_ == 0);
    return;
  }
  GranuleIndex smallest = root_ - 1;
  while (record(smallest + 1).left != 0) smallest = record(smallest + 1).left - 1;
  for (GranuleIndex at = smallest; at != kNoGranule; at = next(at)) {
    const ExtentRecord& r = region.extent(at);
    PM_CHECK(r.state.load(std::memory_order_relaxed) == ExtentState::free);
    PM_CHECK(r.left == 0 || (before(r.left, at + 1) && priority(r.left) <= priority(at + 1)));
    PM_CHECK(r.right == 0 || (before(at + 1, r.right) && priority(r.right) <= priority(at + 1)));
    ++seen;
  }
  PM_CHECK(seen == count_);
}

// `dirty` is count_dirty of the run, which its callers know without counting all of a long one again.
void Extents::add(GranuleIndex first, uint32_t granules, uint32_t dirty) {
  ExtentRecord& r = region.extent(first);
  PM_AUDIT(dirty == count_dirty(first, granules));
  r.granules = granules;
  r.dirty = dirty;
  r.moved = false;
  r.state.store(ExtentState::free, std::memory_order_release);
  region.extent(first + granules - 1).head.store(first, std::memory_order_relaxed);
  free_ += granules;
  dirty_ += r.dirty;
  (r.dirty != 0 ? dirtied_ : clean_).insert(first);
}

void Extents::remove(GranuleIndex extent) {
  ExtentRecord& r = region.extent(extent);
  (r.dirty != 0 ? dirtied_ : clean_).erase(extent);
  free_ -= r.granules;
  dirty_ -= r.dirty;
  r.state.store(ExtentState::none, std::memory_order_release);
}

void Extents::release(GranuleIndex first, uint32_t granules) {
  region.extent(first).state.store(ExtentState::none, std::memory_order_release);
  uint32_t dirty = count_dirty(first, granules);
  const GranuleIndex behind = first + granules;
  if (region.is_owned_by(behind, shard_)) {
    const ExtentRecord& right = region.extent(behind);
    if (right.state.load(std::memory_order_relaxed) == ExtentState::free) {
      granules += right.granules;
      dirty += right.dirty;
      remove(behind);
      ++counters_.coalesces;
    }
  }
  if (first > region.first_granule() && region.is_owned_by(first - 1, shard_)) {
    // `head` may be a leftover; it counts only if it names a free extent that ends exactly here.
    const GranuleIndex head = region.extent(first - 1).head.load(std::memory_order_relaxed);
    if (head < first && region.is_owned_by(head, shard_)) {
      const ExtentRecord& left = region.extent(head);
      if (left.state.load(std::memory_order_relaxed) == ExtentState::free && head + left.granules == first) {
        granules += left.granules;
        dirty += left.dirty;
        first = head;
        remove(head);
        ++counters_.coalesces;
      }
    }
  }
  add(first, granules, dirty);
}

// The smallest extent in which an aligned run fits. Looks at a few of the tightest candidates before it asks for one so
// long that alignment cannot fail, so that a naturally aligned hole is not passed over.
GranuleIndex Extents::find(const ExtentTree& tree, uint32_t granules, uint32_t alignment, GranuleIndex* at) const {
  GranuleIndex candidate = tree.best_fit(granules);
  for (unsigned tries = 0; candidate != kNoGranule; ++tries) {
    const auto start = static_cast<GranuleIndex>(align_up(candidate, alignment));
    if (start - candidate + granules <= region.extent(candidate).granules) {
      *at = start;
      return candidate;
    }
    candidate = tries < 8 ? tree.next(candidate) : tree.best_fit(granules + alignment - 1);
  }
  return kNoGranule;
}

GranuleIndex Extents::allocate(uint32_t granules, uint32_t alignment, bool* clean) {
  GranuleIndex at = 0;
  GranuleIndex extent = find(dirtied_, granules, alignment, &at);
  if (extent == kNoGranule) extent = find(clean_, granules, alignment, &at);
  if (extent == kNoGranule) return kNoGranule;
  const uint32_t total = region.extent(extent).granules;
  // An extent that is dirty at its end only serves from there.
  if (alignment == 1 && total > granules && !is_dirty(extent) && is_dirty(extent + total - 1)) {
    at = extent + total - granules;
  }
  remove(extent);
  ++counters_.hits;
  const uint32_t front = at - extent;
  const uint32_t back = total - front - granules;
  const uint32_t dirty = count_dirty(at, granules);
  const uint32_t front_dirty = count_dirty(extent, front);
  const uint32_t back_dirty = region.extent(extent).dirty - dirty - front_dirty;
  if (front != 0) add(extent, front, front_dirty);
  if (back != 0) add(at + granules, back, back_dirty);
  counters_.splits += (front != 0) + (back != 0);
  *clean = dirty == 0;
  return at;
}

bool Extents::extend(GranuleIndex first, uint32_t granules, uint32_t wanted) {
  const GranuleIndex behind = first + granules;
  const uint32_t missing = wanted - granules;
  if (!region.is_owned_by(behind, shard_)) return false;
  const ExtentRecord& right = region.extent(behind);
  if (right.state.load(std::memory_order_relaxed) != ExtentState::free || right.granules < missing) return false;
  const uint32_t rest = right.granules - missing;
  const uint32_t rest_dirty = right.dirty - count_dirty(behind, missing);
  remove(behind);
  if (rest != 0) {
    add(behind + missing, rest, rest_dirty);
    ++counters_.splits;
  }
  region.extent(first).granules = wanted;
  return true;
}

GranuleIndex Extents::take_dirty() {
  const GranuleIndex extent = dirtied_.largest();
  if (extent == kNoGranule) return kNoGranule;
  remove(extent);
  region.extent(extent).state.store(ExtentState::busy, std::memory_order_release);
  return extent;
}

uint32_t Extents::largest_granules() const {
  uint32_t largest = 0;
  for (const ExtentTree* tree : {&clean_, &dirtied_}) {
    const GranuleIndex extent = tree->largest();
    if (extent != kNoGranule && region.extent(extent).granules > largest) largest = region.extent(extent).granules;
  }
  return largest;
}

void Extents::audit() const {
  clean_.audit();
  dirtied_.audit();
}

}  // namespace pm
