// Shards: the region's free memory, divided so that threads do not queue on one lock.
//
// Internal to the page layer. A shard has a lock, free extents and slab blocks; a huge block belongs to one shard for
// ever.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/lock.h"
#include "page/huge_advice.h"
#include "page/slab_blocks.h"

namespace pm {

// Shards that threads share, and one more for signal handlers that interrupted a thread inside a shard's lock.
constexpr unsigned kShards = 4;
constexpr unsigned kHandlerShard = kShards;

struct alignas(kCacheLine) Shard {
  constexpr Shard(uint8_t number, LockRank rank) : lock(rank), id(number), extents(number) {}

  Lock lock;
  const uint8_t id;
  // All below guarded by lock.
  Extents extents;
  SlabBlocks blocks;
  uint64_t large_objects = 0;
  uint64_t large_bytes = 0;
  uint64_t large_allocations = 0;
  uint64_t large_frees = 0;
  // Granules of extents and blocks that are free, and of those dirty; as of the last unlock, for whoever adds up.
  std::atomic<uint64_t> free_hint{0};
  std::atomic<uint64_t> dirty_hint{0};
};

extern PM_SHARED Shard shards[kShards + 1];

inline uint64_t shard_dirty(const Shard& s) { return s.extents.dirty_granules() + s.blocks.dirty_granules(); }
inline uint64_t shard_free(const Shard& s) { return s.extents.free_granules() + s.blocks.free_granules(); }

// Holds a shard's lock and, before it lets go, says how much is free.
class ShardGuard {
 public:
  explicit ShardGuard(Shard& shard, bool locked_already = false) : shard_(shard) {
    if (!locked_already) shard_.lock.lock();
  }
  ~ShardGuard() {
    // Relaxed: hints for others; one writer at a time, in the lock.
    shard_.dirty_hint.store(shard_dirty(shard_), std::memory_order_relaxed);
    shard_.free_hint.store(shard_free(shard_), std::memory_order_relaxed);
    shard_.lock.unlock();
  }
  ShardGuard(const ShardGuard&) = delete;
  ShardGuard& operator=(const ShardGuard&) = delete;

 private:
  Shard& shard_;
};

inline Shard& owner_of(GranuleIndex g) { return shards[region.block(g).owner.load(std::memory_order_acquire) - 1]; }

// Where this thread looks first, and what it says when that was busy: more homes come into use as threads collide.
uint32_t home_shard();
void note_collision();

// The shard's lock is held: gives back a run of slab granules, and with its last run the block.
void release_run(Shard& shard, GranuleIndex first, uint32_t granules);
// Gives back a freed large object (state busy) or a run of slab granules (its length in the record's `bytes`): now or,
// if the shard's lock is taken, when the next thread comes by.
void release_or_defer(GranuleIndex first);

// Releases what was put off; what cannot be without waiting only if `wait` says so.
void release_deferred(bool wait);
// The same without waiting, if there is anything.
void settle_deferred();

// Before the heap grows by `granules`: see decommit.cc.
void make_room_for(uint32_t granules);
// After granules that are not resident have been handed out.
void note_fresh();

// Finds memory in a shard by `attempt(shard)`, which runs under the shard's lock and returns kNoGranule if it has none.
template <typename Attempt>
GranuleIndex try_shards(uint32_t home, Attempt attempt) {
  for (uint32_t i = 0; i < kShards; ++i) {
    Shard& shard = shards[(home + i) % kShards];
    if (!shard.lock.try_lock()) {
      if (i == 0) note_collision();
      continue;
    }
    const ShardGuard guard(shard, true);
    const GranuleIndex found = attempt(shard);
    if (found != kNoGranule) return found;
  }
  return kNoGranule;
}

template <typename Attempt>
GranuleIndex try_locked(Shard& shard, Attempt attempt) {
  const ShardGuard guard(shard);
  return attempt(shard);
}

// Locks home, or after a short spin any shard that is not busy: who holds home may have lost its CPU. Waits for home if
// all are.
Shard& lock_some(uint32_t home);

// Home first, then any shard that is not busy, then home again, or another while it stays busy, then by growing that
// one. A handler inside a lock waits for nothing but the handlers' shard, which only handlers hold, and those never
// wait for anything else.
template <typename Attempt>
GranuleIndex find_memory(uint32_t granules, Attempt attempt) {
  const uint32_t home = home_shard();
  GranuleIndex found = try_shards(home, attempt);
  settle_deferred();
  if (found != kNoGranule) return found;
  const bool handler = inside_lock();
  Shard& handlers = shards[kHandlerShard];
  if (handler && (handlers.lock.held_by_this_thread() || region.lock().held_by_this_thread())) return kNoGranule;
  if (handler) {
    handlers.lock.lock();
  } else {
    make_room_for(granules);
  }
  Shard& shard = handler ? handlers : lock_some(home);
  {
    // Another thread may have freed or grown meanwhile.
    const ShardGuard guard(shard, true);
    found = attempt(shard);
  }
  if (found != kNoGranule) return found;
  const Region::Chunk chunk = region.grow(granules, shard.id);
  if (chunk.granules == 0) return kNoGranule;
  huge_advice.advise(address_of(region.address(chunk.first)), size_t{chunk.granules} << kGranuleShift,
                     region.committed_bytes());
  return try_locked(shard, [&](Shard& grown) {
    grown.extents.release(chunk.first, chunk.granules);
    return attempt(grown);
  });
}

}  // namespace pm
