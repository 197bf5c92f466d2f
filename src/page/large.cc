// Large objects: one extent each.
#include <cstring>

#include "os/memory.h"
#include "os/process.h"
#include "page/huge_blocks.h"
#include "page/hugetlb.h"
#include "page/mapping_budget.h"
#include "page/page.h"
#include "page/shard.h"

namespace pm {
namespace {

std::atomic<uint64_t> moves{0};  // relaxed; read by the statistics

uint32_t granules_for(size_t bytes) { return static_cast<uint32_t>((bytes + kGranuleBytes - 1) >> kGranuleShift); }

// Whether bytes can be counted in granules of the window at all.
bool fits_window(size_t bytes) { return bytes <= size_t{region.window_granules()} << kGranuleShift; }

void zero_dirty(GranuleIndex first, size_t bytes) {
  for (size_t offset = 0; offset < bytes; offset += kGranuleBytes) {
    const auto g = static_cast<GranuleIndex>(first + (offset >> kGranuleShift));
    const size_t length = bytes - offset < kGranuleBytes ? bytes - offset : kGranuleBytes;
    if (is_dirty(g)) memset(region.address(g), 0, length);
  }
}

size_t object_bytes(size_t bytes) { return align_up(bytes == 0 ? 1 : bytes, os::page_size()); }

// The live large object that covers granule g, by walking back to its first granule; kNoGranule if there is none.
GranuleIndex covering_large(GranuleIndex g) {
  for (GranuleIndex at = g;; --at) {
    const ExtentState state = region.extent(at).state.load(std::memory_order_acquire);
    if (state == ExtentState::large) return g - at < region.extent(at).granules ? at : kNoGranule;
    if (state != ExtentState::none || at == region.first_granule()) return kNoGranule;
    if (region.block(at - 1).owner.load(std::memory_order_acquire) == 0) return kNoGranule;
  }
}

FreeLarge classify(const void* p, void** start) {
  const GranuleIndex g = region.granule_of(p);
  if (region.block(g).owner.load(std::memory_order_acquire) == 0) return FreeLarge::not_large;
  const GranuleIndex block = g & ~(kBlockGranules - 1);
  if (region.extent(block).state.load(std::memory_order_acquire) == ExtentState::slabs) return FreeLarge::slab_gone;
  const GranuleIndex first = covering_large(g);
  if (first == kNoGranule) return FreeLarge::freed_already;
  *start = region.address(first);
  return *start == p ? FreeLarge::done : FreeLarge::inside;
}

}  // namespace

void* allocate_large(size_t bytes, size_t alignment, bool zero) {
  if (!fits_window(bytes) || alignment > kMaxAlignment) return nullptr;
  const size_t rounded = object_bytes(bytes);
  const uint32_t granules = granules_for(rounded);
  const auto granule_alignment = static_cast<uint32_t>(alignment <= kGranuleBytes ? 1 : alignment >> kGranuleShift);
  const GranuleIndex first = find_memory(granules + granule_alignment - 1, [&](Shard& shard) {
    const GranuleIndex found = shard.extents.allocate(granules, granule_alignment);
    if (found == kNoGranule) return found;
    ExtentRecord& r = region.extent(found);
    r.granules = granules;
    r.bytes = rounded;
    r.vacated = false;
    r.state.store(ExtentState::large, std::memory_order_release);
    ++shard.large_objects;
    ++shard.large_allocations;
    shard.large_bytes += rounded;
    return found;
  });
  if (first == kNoGranule) return nullptr;
  // The run is ours alone now: its dirty bits change only when we free it.
  const uint32_t dirty = region.extent(first).dirty;
  if (zero && dirty != 0) zero_dirty(first, rounded);
  if (dirty < granules) note_fresh();
  return region.address(first);
}

FreeLarge find_large(const void* p, void** start) { return classify(p, start); }

FreeLarge free_large(void* p, void** start) {
  const FreeLarge found = classify(p, start);
  if (found != FreeLarge::done) return found;
  const GranuleIndex first = region.granule_of(p);
  // Two threads may free it at once: one finds it large. Acquire and release order the record between owner and shard.
  ExtentState expected = ExtentState::large;
  if (!region.extent(first).state.compare_exchange_strong(expected, ExtentState::busy, std::memory_order_acq_rel)) {
    return FreeLarge::freed_already;
  }
  release_or_defer(first);
  return FreeLarge::done;
}

size_t large_size(const void* p) { return region.extent(region.granule_of(p)).bytes; }

PM_RARE bool resize_large(void* p, size_t bytes) {
  if (!fits_window(bytes) || inside_lock()) return false;
  const GranuleIndex first = region.granule_of(p);
  const size_t rounded = object_bytes(bytes);
  const uint32_t wanted = granules_for(rounded);
  ExtentRecord& r = region.extent(first);
  Shard& shard = owner_of(first);
  const ShardGuard guard(shard);
  if (wanted > r.granules && !shard.extents.extend(first, r.granules, wanted)) return false;
  if (wanted < r.granules) {
    const GranuleIndex tail = first + wanted;
    const uint32_t length = r.granules - wanted;
    r.dirty = r.dirty == r.granules ? wanted : count_dirty(first, wanted);
    r.granules = wanted;
    mark_dirty(tail, length);
    shard.extents.release(tail, length, length);
  }
  shard.large_bytes += rounded - r.bytes;
  r.bytes = rounded;
  return true;
}

namespace {

// Moves the first `bytes` of object `from` to object `to` by their pages. False if that does not pay: pages that lie at
// the destination would be thrown away, which costs three times what copying to them does. (Per MiB, about: to a place
// without pages, moved 10 us, copied with the faults that takes 90; over resident pages, moved 110 us, copied 36.)
bool move_pages(GranuleIndex from, GranuleIndex to, size_t bytes) {
  const auto granules = static_cast<uint32_t>(bytes >> kGranuleShift);
  if (4 * count_dirty(to, granules) > granules) return false;
  // Pages of hugetlbfs stay where they are.
  if (touches_hugetlb(from, granules) || touches_hugetlb(to, granules)) return false;
  // The moved pages are a kernel mapping of their own.
  if (!mapping_budget.take(2)) return false;
  if (!os::memory().move_pages(address_of(region.address(from)), address_of(region.address(to)), bytes)) {
    mapping_budget.give_back(2);
    return false;
  }
  forget_huge(from, granules);
  forget_huge(to, granules);
  moves.fetch_add(1, std::memory_order_relaxed);
  region.extent(from).vacated = true;
  return true;
}

}  // namespace

PM_RARE void* move_large(void* p, size_t bytes) {
  constexpr size_t kWorthMoving = kMiB;
  const GranuleIndex from = region.granule_of(p);
  const size_t old_bytes = region.extent(from).bytes;
  if (old_bytes < kWorthMoving || bytes < old_bytes) return nullptr;
  void* const moved = allocate_large(bytes, kGranuleBytes, false);
  if (moved == nullptr) return nullptr;
  void* start = nullptr;
  if (!move_pages(from, region.granule_of(moved), old_bytes)) memcpy(moved, p, old_bytes);
  free_large(p, &start);
  return moved;
}

uint64_t large_moves() { return moves.load(std::memory_order_relaxed); }

}  // namespace pm
