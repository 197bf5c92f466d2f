#include "page/shard.h"

#include "base/index_stack.h"
#include "os/cpu.h"

namespace pm {

constinit ShardTable shards{};
std::atomic<int64_t> exposed_granules{0};
std::atomic<int64_t> exposure_mark{INT64_MAX};

namespace {

// Runs that could not be released because somebody held their shard's lock: whoever comes by next releases them. Linked
// through ExtentRecord::head of the first granule.
template <typename T>
using StdAtomic = std::atomic<T>;
IndexStack<StdAtomic> deferred;
std::atomic<uint32_t>& deferred_link(uint32_t g) { return region.extent(g).head; }

// Homes in use: one until threads are seen to collide, so that a small process keeps one dense heap. Relaxed: a hint.
std::atomic<uint32_t> homes{1};
std::atomic<uint32_t> collisions{0};
constexpr uint32_t kCollisionsPerHome = 256;

}  // namespace

uint32_t home_shard() {
  const uint32_t n = homes.load(std::memory_order_relaxed);
  return n == 1 ? 0 : os::current_cpu() % n;
}

void note_collision() {
  const uint32_t seen = collisions.fetch_add(1, std::memory_order_relaxed) + 1;
  const uint32_t n = homes.load(std::memory_order_relaxed);
  if (n < kShards && seen >= n * kCollisionsPerHome) homes.store(n + 1, std::memory_order_relaxed);
}

Shard& lock_some(unsigned node, uint32_t home) {
  constexpr unsigned kSpins = 64;
  Shard* const of_node = &shards[shard_id(node, 0)];
  for (unsigned spins = 0; spins < kSpins; ++spins) {
    if (of_node[home].lock.try_lock()) return of_node[home];
    os::pause_cpu();
  }
  for (uint32_t i = 1; i < kShards; ++i) {
    Shard& other = of_node[(home + i) % kShards];
    if (other.lock.try_lock()) return other;
  }
  of_node[home].lock.lock();
  return of_node[home];
}

void release_run(Shard& shard, GranuleIndex first, uint32_t granules) {
  const GranuleIndex block = shard.blocks.release(first, granules);
  if (block != kNoGranule) shard.extents.release(block, kBlockGranules);
}

namespace {

void release_large(Shard& shard, GranuleIndex first) {
  const ExtentRecord& r = region.extent(first);
  --shard.large_objects;
  ++shard.large_frees;
  shard.large_bytes -= r.bytes;
  shard.large_released_bytes += r.bytes;
  if (r.vacated) {
    // What lies behind its bytes in the last granule stayed, from whoever had that before.
    const auto moved = static_cast<uint32_t>(r.bytes >> kGranuleShift);
    mark_clean(first, moved);
    mark_dirty(first + moved, r.granules - moved);
    return shard.extents.release(first, r.granules, r.granules - moved);
  }
  // Bits that were set when it was handed out are still.
  if (r.dirty != r.granules) mark_dirty(first, r.granules);
  shard.extents.release(first, r.granules, r.granules);
}

// A run of slab granules has its length in `bytes`; a freed large object is `busy`. (The first granule of a block that
// holds slabs is `slabs`, the others `none`.)
void release_any(Shard& shard, GranuleIndex first) {
  if (region.extent(first).state.load(std::memory_order_acquire) == ExtentState::busy)
    return release_large(shard, first);
  const auto granules = static_cast<uint32_t>(region.extent(first).bytes >> kGranuleShift);
  mark_dirty(first, granules);
  release_run(shard, first, granules);
}

}  // namespace

PM_RARE void release_deferred(bool wait) {
  uint32_t at = deferred.take_all();
  while (at != kNoIndex) {
    const uint32_t next = deferred_link(at).load(std::memory_order_relaxed);
    Shard& shard = owner_of(at);
    if (wait) {
      const ShardGuard guard(shard);
      release_any(shard, at);
    } else if (shard.lock.try_lock()) {
      const ShardGuard guard(shard, true);
      release_any(shard, at);
    } else {
      deferred.push(at, deferred_link);
    }
    at = next;
  }
}

void settle_deferred() {
  if (PM_UNLIKELY(!deferred.empty()) && !inside_lock()) release_deferred(false);
}

// Whoever frees never waits: a thread that holds the lock may have lost its CPU. It finds the run on the list when it
// is through; if it was through just before, the second try succeeds. What two threads pass over in the middle of such
// a meeting is found by the next one that comes by.
void release_or_defer(GranuleIndex first) {
  Shard& shard = owner_of(first);
  if (PM_LIKELY(shard.lock.try_lock())) {
    const ShardGuard guard(shard, true);
    release_any(shard, first);
  } else {
    note_collision();
    deferred.push(first, deferred_link);
  }
  settle_deferred();
}

}  // namespace pm
