#include "page/region.h"

#include "os/process.h"
#include "page/hugetlb.h"
#include "page/nodes.h"

namespace pm {
namespace {

// Where windows start: above what programs map by hint, below where the kernel places anything by itself (the bottom-up
// layout starts at 0x2aaaaaaaa000, everything else lies higher).
constexpr uintptr_t kLowestWindow = uintptr_t{16} << 40;
constexpr uint64_t kWindowPlaces = 16 * 1024;  // gibibytes
constexpr uint64_t kOffsetPlaces = 4 * 1024;   // huge blocks: the heap's first block within the window
constexpr uint64_t kSmallestWindow = 64 * kMiB;
constexpr uint64_t kLargestWindow = uint64_t{16} << 40;
constexpr unsigned kMapTries = 64;
// A node's range shorter than this is not worth a division.
constexpr uint32_t kSmallestRange = 128 * kMiB >> kGranuleShift;

uint64_t choose_window(uint64_t wanted) {
  if (wanted == 0) {
    wanted = os::physical_memory() * 8;
    if (wanted < 64 * kGiB) wanted = 64 * kGiB;
    // The tables are reserved whole (1 % of the window), which a limited address space must not feel much. The limit
    // may be raised later, so the window is larger than it.
    const uint64_t limit = os::address_space_limit();
    if (wanted / 8 > limit) wanted = limit * 8;
  }
  if (wanted < kSmallestWindow) wanted = kSmallestWindow;
  if (wanted > kLargestWindow) wanted = kLargestWindow;
  return align_up(wanted, kBlockBytes);
}

}  // namespace

RegionView region_view = {0, 0, nullptr};
Region region;

bool Region::init(uint64_t wanted_bytes) {
  const uint64_t seed = os::random_seed();
  const bool roomy = os::address_space_limit() == UINT64_MAX;
  const uint64_t offset_blocks = roomy ? (seed >> 32) % kOffsetPlaces : 0;
  for (uint64_t window = choose_window(wanted_bytes); window >= kSmallestWindow; window /= 2) {
    const auto granules = static_cast<uint32_t>((window >> kGranuleShift) + offset_blocks * kBlockGranules);
    if (!extents_.reserve(granules) || !blocks_.reserve(granules / kBlockGranules) || !page_map_.reserve(granules) ||
        !page_map_.commit(0, granules) || !blocks_.commit(0, granules / kBlockGranules)) {
      extents_.release();
      blocks_.release();
      page_map_.release();
      continue;
    }
    window_ = granules;
    region_view.base = kLowestWindow + (seed % kWindowPlaces) * kGiB;
    region_view.page_map = page_map_.data();
    first_ = static_cast<GranuleIndex>(offset_blocks * kBlockGranules);
    ranges_[0].first = first_;
    ranges_[0].top = first_;
    ranges_[0].end = window_;
    return true;
  }
  return false;
}

bool Region::is_strict() const {
  Strictness known = strictness_.load(std::memory_order_relaxed);
  if (known == Strictness::unknown) {
    const bool strict = os::overcommit_mode() == 2 || os::address_space_limit() != UINT64_MAX;
    known = strict ? Strictness::strict : Strictness::lavish;
    strictness_.store(known, std::memory_order_relaxed);
  }
  return known == Strictness::strict;
}

// An eighth of the heap at a time, so that the number of system calls grows with the logarithm of the heap.
uint32_t Region::chunk_granules(uint32_t wanted) const {
  const auto needed = static_cast<uint32_t>(align_up(wanted, kBlockGranules));
  if (is_strict()) return needed;
  const size_t eighth = align_up((committed_bytes() >> kGranuleShift) / 8, kBlockGranules);
  const uint32_t step = eighth < 64 ? 64 : eighth > 1024 ? 1024 : static_cast<uint32_t>(eighth);
  return needed > step ? needed : step;
}

bool Region::claim_in(Range& range, uint32_t granules, Chunk& chunk) {
  for (unsigned i = 0; i < returned_count_; ++i) {
    Chunk& returned = returned_[i];
    if (returned.granules < granules || returned.first < range.first || returned.first >= range.end) continue;
    chunk = {returned.first, granules};
    returned.first += granules;
    returned.granules -= granules;
    if (returned.granules == 0) returned = returned_[--returned_count_];
    return true;
  }
  const GranuleIndex top = range.top;
  if (range.end - top < granules) return false;
  chunk = {top, granules};
  range.top = top + granules;
  return true;
}

bool Region::claim(uint32_t granules, unsigned node, bool generous, Chunk& chunk) {
  LockGuard guard(lock_);
  return claim_in(ranges_[node], granules, chunk) || (!generous && claim_in(ranges_[kShared], granules, chunk));
}

// For memory that belongs to no node: what all share, while there is such a part.
bool Region::claim_shared(uint32_t granules, Chunk& chunk) {
  LockGuard guard(lock_);
  return claim_in(ranges_[kShared], granules, chunk) || claim_in(ranges_[0], granules, chunk);
}

Region::Range& Region::range_of(GranuleIndex g) {
  unsigned node = 0;
  while (node < kShared && (g < ranges_[node].first || g >= ranges_[node].end)) ++node;
  return ranges_[node];
}

PM_RARE void Region::give_back(const Chunk& chunk) {
  LockGuard guard(lock_);
  Range& range = range_of(chunk.first);
  Chunk whole = chunk;
  for (unsigned i = 0; i < returned_count_;) {
    const Chunk& other = returned_[i];
    const bool before = other.first + other.granules == whole.first;
    const bool touches = before || whole.first + whole.granules == other.first;
    if (!touches || other.first < range.first || other.first >= range.end) {
      ++i;
      continue;
    }
    if (before) whole.first = other.first;
    whole.granules += other.granules;
    returned_[i] = returned_[--returned_count_];
    i = 0;  // what has grown may touch one that was passed
  }
  if (whole.first + whole.granules == range.top) {
    range.top = whole.first;
    return;
  }
  if (returned_count_ < kMaxReturned) {
    returned_[returned_count_++] = whole;
    return;
  }
  Chunk* shortest = &whole;
  for (Chunk& other : returned_) {
    if (other.granules < shortest->granules) shortest = &other;
  }
  *shortest = whole;
}

PM_RARE bool Region::divide(unsigned nodes) {
  LockGuard guard(lock_);
  const GranuleIndex from = ranges_[0].top;
  const auto length = static_cast<uint32_t>(align_down((window_ - from) / 2 / nodes, kBlockGranules));
  if (nodes < 2 || nodes > kMaxNodes || node_ranges_ != 0 || length < kSmallestRange) return false;
  ranges_[0].end = from + length;
  for (unsigned node = 1; node < nodes; ++node) {
    ranges_[node].first = ranges_[node].top = from + node * length;
    ranges_[node].end = from + (node + 1) * length;
  }
  ranges_[kShared].first = ranges_[kShared].top = from + nodes * length;
  ranges_[kShared].end = window_;
  divided_from_ = from;
  node_ranges_ = nodes;
  // Release pairs with node_of() and node_count(). Under the lock, so that a fork handler that holds it knows how many
  // shards there are.
  range_granules_.store(length, std::memory_order_release);
  nodes::count.store(nodes, std::memory_order_release);
  return true;
}

bool Region::map(const Chunk& chunk, unsigned node) {
  if (!extents_.commit(chunk.first, chunk.granules)) return false;
  const uintptr_t start = address_of(address(chunk.first));
  const size_t bytes = size_t{chunk.granules} << kGranuleShift;
  if (os::memory().reserve(start, bytes) == nullptr) return false;
  if (hugetlb_pages.map(chunk.first, chunk.granules)) return true;
  if (!os::memory().commit(start, bytes)) {
    os::memory().release(start, bytes);
    return false;
  }
  bind_fresh(start, bytes, node);
  return true;
}

void Region::publish(const Chunk& chunk, uint8_t owner) {
  for (uint32_t g = chunk.first; g < chunk.first + chunk.granules; g += kBlockGranules) {
    block(g).owner.store(static_cast<uint8_t>(owner + 1), std::memory_order_release);
  }
  const size_t end = (size_t{chunk.first} + chunk.granules) << kGranuleShift;
  size_t limit = view_limit();
  while (limit < end &&
         !__atomic_compare_exchange_n(&region_view.limit, &limit, end, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

PM_RARE Region::Chunk Region::adopt(uint32_t granules, uint8_t owner) {
  if (granules > window_) return {0, 0};
  const auto needed = static_cast<uint32_t>(align_up(granules, kBlockGranules));
  const size_t bytes = size_t{needed} << kGranuleShift;
  for (unsigned attempt = 0; attempt < kMapTries; ++attempt) {
    Chunk chunk = {0, 0};
    if (!claim_shared(needed, chunk)) break;
    const uintptr_t start = address_of(address(chunk.first));
    if (extents_.commit(chunk.first, needed) && os::memory().reserve(start, bytes) != nullptr) {
      publish(chunk, owner);
      return chunk;
    }
    // Somebody else's mapping: step over it.
    if (os::is_mapped(start, bytes)) continue;
    give_back(chunk);
    break;
  }
  return {0, 0};
}

PM_RARE void Region::abandon(const Chunk& chunk) {
  os::memory().release(address_of(address(chunk.first)), size_t{chunk.granules} << kGranuleShift);
  extents_.clear(chunk.first, chunk.granules);
  for (uint32_t g = chunk.first; g < chunk.first + chunk.granules; g += kBlockGranules) {
    BlockRecord& r = block(g);
    r.used = r.next = r.previous = 0;
    r.dirty.store(0, std::memory_order_relaxed);  // ordered by the region's lock, which the next claim takes
    r.owner.store(kAbandonedOwner + 1, std::memory_order_release);
  }
  give_back(chunk);
}

Region::Chunk Region::grow(uint32_t granules, uint8_t shard) {
  const auto needed = static_cast<uint32_t>(align_up(granules, kBlockGranules));
  const unsigned node = node_of_shard(shard);
  Chunk chunk = {0, 0};
  bool mapped = false;
  // Ask for a generous chunk, then for what is needed. A place that cannot be mapped may be somebody else's mapping in
  // our window: step over it. Address space or memory that is used up fails at every place, hence few tries.
  for (unsigned attempt = 0; attempt < kMapTries && !mapped; ++attempt) {
    const uint32_t size = attempt == 0 ? chunk_granules(granules) : needed;
    if (!claim(size, node, attempt == 0, chunk)) {
      if (attempt == 0) continue;  // the range's end is near: try what is needed
      break;
    }
    mapped = map(chunk, node);
    if (mapped) break;
    if (attempt == 0 || !os::is_mapped(address_of(address(chunk.first)), size_t{chunk.granules} << kGranuleShift)) {
      give_back(chunk);
      if (attempt > 0) break;
    }
  }
  if (!mapped) {
    refusals_.fetch_add(1, std::memory_order_relaxed);
    return {0, 0};
  }
  publish(chunk, shard);
  committed_.fetch_add(size_t{chunk.granules} << kGranuleShift, std::memory_order_relaxed);
  grows_.fetch_add(1, std::memory_order_relaxed);
  return chunk;
}

size_t Region::table_bytes() const {
  return extents_.resident_bytes() + blocks_.resident_bytes() + page_map_.resident_bytes();
}

size_t Region::reserved_bytes() const {
  return committed_bytes() + extents_.reserved_bytes() + blocks_.reserved_bytes() + page_map_.reserved_bytes();
}

}  // namespace pm
