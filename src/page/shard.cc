#include "page/shard.h"

#include "base/index_stack.h"
#include "os/cpu.h"

namespace pm {

constinit Shard shards[kShards + 1] = {{0, LockRank::shard0},
                                       {1, LockRank::shard1},
                                       {2, LockRank::shard2},
                                       {3, LockRank::shard3},
                                       {4, LockRank::handler_shard}};

HugeAdvice huge_advice;
std::atomic<uint64_t> moved_now{0};

namespace {

// Runs that a signal handler could not release because it had interrupted the holder of their shard's lock. Whoever
// takes a shard's lock next releases them. Linked through ExtentRecord::head of the first granule.
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
  if (r.moved) moved_now.fetch_sub(1, std::memory_order_relaxed);
  if (r.vacated) {
    mark_clean(first, r.granules);
    return shard.extents.release(first, r.granules, 0);
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

void release_deferred() {
  uint32_t at = deferred.take_all();
  while (at != kNoIndex) {
    const uint32_t next = deferred_link(at).load(std::memory_order_relaxed);
    Shard& shard = owner_of(at);
    const ShardGuard guard(shard);
    release_any(shard, at);
    at = next;
  }
}

void release_or_defer(GranuleIndex first) {
  Shard& shard = owner_of(first);
  if (PM_UNLIKELY(inside_lock())) {
    if (!shard.lock.try_lock()) return deferred.push(first, deferred_link);
    const ShardGuard guard(shard, true);
    return release_any(shard, first);
  }
  {
    const ShardGuard guard(shard);
    release_any(shard, first);
  }
  if (PM_UNLIKELY(!deferred.empty())) release_deferred();
}

}  // namespace pm
