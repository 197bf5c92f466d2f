// Shards: the region's free memory, divided so that threads do not queue on one lock.
//
// Internal to the page layer. A shard has a lock, free extents and slab blocks, all of one memory node; a huge block
// belongs to one shard for ever.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#include "base/lock.h"
#include "page/exposure.h"
#include "page/huge_advice.h"
#include "page/nodes.h"
#include "page/slab_blocks.h"

namespace pm {

struct alignas(kCacheLine) Shard {
  constexpr explicit Shard(unsigned number)
      : lock(rank_of(number)), id(static_cast<uint8_t>(number)), extents(static_cast<uint8_t>(number)) {}

  // Nodes share ranks: no thread holds two shards' locks but the fork handler, and a signal handler that takes another
  // node's lock for the one its thread holds merely goes on to the next.
  static constexpr LockRank rank_of(unsigned number) {
    if (number == kHandlerShard) return LockRank::handler_shard;
    const unsigned home = number < kHandlerShard ? number : (number - 1) % kShards;
    return static_cast<LockRank>(static_cast<unsigned>(LockRank::shard0) + home);
  }

  Lock lock;
  const uint8_t id;
  // All below guarded by lock.
  Extents extents;
  SlabBlocks blocks;
  uint64_t mapped = 0;      // granules, whoever has them
  uint64_t busy = 0;        // of those, granules that are out of all structures to be decommitted
  uint64_t busy_dirty = 0;  // of those, granules that may be resident until that is done
  uint64_t large_objects = 0;
  uint64_t large_bytes = 0;
  uint64_t large_allocations = 0;
  uint64_t large_frees = 0;
  uint64_t large_released_bytes = 0;
  // Granules of extents and blocks that are free, and of those dirty; as of the last unlock, for whoever adds up.
  std::atomic<uint64_t> free_hint{0};
  std::atomic<uint64_t> dirty_hint{0};
};

// Zero until page_init makes the first node's shards and the handlers', and learn() those of the other nodes: all of
// them would be 24 KiB in the library's file and in every process.
class ShardTable {
 public:
  void make(unsigned first, unsigned end) {
    for (unsigned id = first; id < end; ++id) new (&storage_[id * sizeof(Shard)]) Shard(id);
  }
  Shard& operator[](unsigned id) { return begin()[id]; }
  // Those of the nodes in use; the others were never touched.
  Shard* begin() { return std::launder(reinterpret_cast<Shard*>(storage_)); }
  Shard* end() { return begin() + shards_of(node_count()); }

 private:
  alignas(Shard) unsigned char storage_[kMaxShards * sizeof(Shard)];
};

extern PM_SHARED ShardTable shards;

inline uint64_t shard_dirty(const Shard& s) { return s.extents.dirty_granules() + s.blocks.dirty_granules(); }
inline uint64_t shard_free(const Shard& s) { return s.extents.free_granules() + s.blocks.free_granules(); }

// What is on its way to the system is exposed until it is there: others may take memory meanwhile.
inline uint64_t shard_exposed(const Shard& s) {
  return s.mapped + shard_dirty(s) + s.busy_dirty - shard_free(s) - s.busy;
}

// Holds a shard's lock and, before it lets go, says how much is free and what more, or less, is exposed.
class ShardGuard {
 public:
  explicit ShardGuard(Shard& shard, bool locked_already = false) : shard_(shard) {
    if (!locked_already) shard_.lock.lock();
    exposed_before_ = shard_exposed(shard_);
  }
  ~ShardGuard() {
    // Relaxed: hints for others; one writer at a time, in the lock.
    shard_.dirty_hint.store(shard_dirty(shard_), std::memory_order_relaxed);
    shard_.free_hint.store(shard_free(shard_), std::memory_order_relaxed);
    const auto exposed = static_cast<int64_t>(shard_exposed(shard_) - exposed_before_);
    if (exposed != 0) exposed_granules.fetch_add(exposed, std::memory_order_relaxed);
    shard_.lock.unlock();
  }
  ShardGuard(const ShardGuard&) = delete;
  ShardGuard& operator=(const ShardGuard&) = delete;

 private:
  Shard& shard_;
  uint64_t exposed_before_;
};

inline Shard& owner_of(GranuleIndex g) { return shards[region.block(g).owner.load(std::memory_order_acquire) - 1]; }

// Which of its node's shards this thread looks in first, and what it says when that was busy: more homes come into use
// as threads collide.
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

// Finds memory in a shard of the node by `attempt(shard)`, which runs under the shard's lock and returns kNoGranule if
// it has none.
template <typename Attempt>
PM_HOT GranuleIndex try_shards(unsigned node, uint32_t home, Attempt attempt) {
  Shard* const of_node = &shards[shard_id(node, 0)];
  for (uint32_t i = 0; i < kShards; ++i) {
    Shard& shard = of_node[(home + i) % kShards];
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

// Locks home, or after a short spin any shard of the node that is not busy: who holds home may have lost its CPU. Waits
// for home if all are.
Shard& lock_some(unsigned node, uint32_t home);

// Whether a node may grow beyond what it has free.
enum class Growth : uint8_t { if_room, always };

// On one node where no shard had any at once: home again, or another while it stays busy, then by growing that one. A
// handler inside a lock waits for nothing but the handlers' shard, which only handlers hold, and those never wait for
// anything else.
template <typename Attempt>
PM_COLD GranuleIndex find_by_growing(unsigned node, uint32_t granules, Growth growth, Attempt attempt) {
  const bool handler = inside_lock();
  Shard& handlers = shards[kHandlerShard];
  if (handler && (handlers.lock.held_by_this_thread() || region.lock().held_by_this_thread())) return kNoGranule;
  if (handler) {
    handlers.lock.lock();
  } else {
    make_room_for(granules);
  }
  Shard& shard = handler ? handlers : lock_some(node, home_shard());
  GranuleIndex found;
  {
    // Another thread may have freed or grown meanwhile.
    const ShardGuard guard(shard, true);
    found = attempt(shard);
  }
  if (found != kNoGranule) return found;
  if (!handler) {
    if (growth == Growth::if_room && !node_has_room(node, size_t{granules} << kGranuleShift)) return kNoGranule;
    learn_nodes_if_due(region.committed_bytes());
  }
  const Region::Chunk chunk = region.grow(granules, shard.id);
  if (chunk.granules == 0) return kNoGranule;
  huge_advice.advise(address_of(region.address(chunk.first)), size_t{chunk.granules} << kGranuleShift,
                     region.committed_bytes());
  return try_locked(shard, [&](Shard& grown) {
    grown.mapped += chunk.granules;
    grown.extents.release(chunk.first, chunk.granules);
    return attempt(grown);
  });
}

// Home first, then any shard of the node that is not busy, then by growth.
template <typename Attempt>
GranuleIndex find_on(unsigned node, uint32_t granules, Growth growth, Attempt attempt) {
  const GranuleIndex found = try_shards(node, home_shard(), attempt);
  settle_deferred();
  return PM_LIKELY(found != kNoGranule) ? found : find_by_growing(node, granules, growth, attempt);
}

// The thread's node has nothing at hand. What it cannot grow by is looked for on the others, the nearest first; with
// all of them full the kernel may still find pages, by dropping its caches.
template <typename Attempt>
PM_COLD GranuleIndex find_slowly(unsigned node, uint32_t granules, Attempt attempt) {
  const GranuleIndex grown = find_by_growing(node, granules, Growth::if_room, attempt);
  if (grown != kNoGranule || node_count() == 1) return grown;
  for (const Growth growth : {Growth::if_room, Growth::always}) {
    for (unsigned i = growth == Growth::if_room ? 1 : 0; i < node_count(); ++i) {
      const GranuleIndex found = find_on(fallback_node(node, i), granules, growth, attempt);
      if (found == kNoGranule) continue;
      if (i != 0) count_fallback();
      return found;
    }
  }
  return kNoGranule;
}

template <typename Attempt>
GranuleIndex find_memory(uint32_t granules, Attempt attempt) {
  const unsigned node = this_node();
  const GranuleIndex found = try_shards(node, home_shard(), attempt);
  settle_deferred();
  return PM_LIKELY(found != kNoGranule) ? found : find_slowly(node, granules, attempt);
}

}  // namespace pm
