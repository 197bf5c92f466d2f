#include "page/page.h"

#include <cstring>

#include "base/check.h"
#include "base/index_stack.h"
#include "os/cpu.h"
#include "page/huge_advice.h"
#include "page/slab_blocks.h"

namespace pm {
namespace {

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
};

constinit Shard shards[kShards + 1] = {{0, LockRank::shard0},
                                       {1, LockRank::shard1},
                                       {2, LockRank::shard2},
                                       {3, LockRank::shard3},
                                       {4, LockRank::handler_shard}};

// Runs that a signal handler could not release because it had interrupted the holder of their shard's lock. Whoever
// takes a shard's lock next releases them. Linked through ExtentRecord::head of the first granule.
template <typename T>
using StdAtomic = std::atomic<T>;
IndexStack<StdAtomic> deferred;
std::atomic<uint32_t>& deferred_link(uint32_t g) { return region.extent(g).head; }

PageOptions options = {};
HugeAdvice huge_advice;

// Homes in use: one until threads are seen to collide, so that a small process keeps one dense heap. Relaxed: a hint.
std::atomic<uint32_t> homes{1};
std::atomic<uint32_t> collisions{0};
constexpr uint32_t kCollisionsPerHome = 256;

// Decommit counters; relaxed, read by the statistics.
std::atomic<uint64_t> decommit_calls{0};
std::atomic<uint64_t> decommitted_bytes{0};
std::atomic<uint64_t> moves{0};
std::atomic<uint64_t> moved_now{0};

// Free dirty granules over all shards; updated after each change under a shard's lock, so exact up to what is in
// flight.
std::atomic<int64_t> dirty_granules{0};

uint64_t shard_dirty(const Shard& s) { return s.extents.dirty_granules() + s.blocks.dirty_granules(); }

// Holds a shard's lock and carries the change of its dirty granules over to the sum.
class ShardGuard {
 public:
  explicit ShardGuard(Shard& shard, bool locked_already = false) : shard_(shard) {
    if (!locked_already) shard_.lock.lock();
    dirty_before_ = shard_dirty(shard_);
  }
  ~ShardGuard() {
    const auto change = static_cast<int64_t>(shard_dirty(shard_) - dirty_before_);
    if (change != 0) dirty_granules.fetch_add(change, std::memory_order_relaxed);
    shard_.lock.unlock();
  }
  ShardGuard(const ShardGuard&) = delete;
  ShardGuard& operator=(const ShardGuard&) = delete;

 private:
  Shard& shard_;
  uint64_t dirty_before_;
};

Shard& owner_of(GranuleIndex g) { return shards[region.block(g).owner.load(std::memory_order_acquire) - 1]; }

uint32_t home_shard() {
  const uint32_t n = homes.load(std::memory_order_relaxed);
  return n == 1 ? 0 : os::current_cpu() % n;
}

void note_collision() {
  const uint32_t seen = collisions.fetch_add(1, std::memory_order_relaxed) + 1;
  const uint32_t n = homes.load(std::memory_order_relaxed);
  if (n < kShards && seen >= n * kCollisionsPerHome) homes.store(n + 1, std::memory_order_relaxed);
}

// What may be free and resident before growth decommits: dirty_bytes, or a quarter of what is live if that is more.
uint64_t allowed_dirty() {
  const uint64_t quarter = region.committed_bytes() / 5;
  return quarter > options.dirty_bytes ? quarter : options.dirty_bytes;
}

// Decommits dirty runs of one shard until `goal` granules are given. The runs are out of the shard's structures while
// the system works, so that a slow decommit keeps nobody else waiting.
struct Victims {
  static constexpr size_t kMax = 64;
  os::PageRange ranges[kMax];
  bool in_block[kMax];
  size_t count = 0;
  uint64_t granules = 0;
  uint64_t dirty = 0;  // of those, granules that may be resident: what is really given back

  void add(GranuleIndex first, uint32_t length, bool block) {
    ranges[count] = {address_of(region.address(first)), size_t{length} << kGranuleShift};
    in_block[count++] = block;
    granules += length;
    dirty += count_dirty(first, length);
  }
};

void take_victims(Shard& shard, uint64_t goal, Victims& victims) {
  const ShardGuard guard(shard);
  while (victims.count < Victims::kMax && victims.dirty < goal) {
    const GranuleIndex extent = shard.extents.take_dirty();
    if (extent != kNoGranule) {
      victims.add(extent, region.extent(extent).granules, false);
      continue;
    }
    uint32_t length = 0;
    const GranuleIndex run = shard.blocks.take_dirty(&length);
    if (run == kNoGranule) return;
    victims.add(run, length, true);
  }
}

void release_run(Shard& shard, GranuleIndex first, uint32_t granules) {
  const GranuleIndex block = shard.blocks.release(first, granules);
  if (block != kNoGranule) shard.extents.release(block, kBlockGranules);
}

void release_large(Shard& shard, GranuleIndex first) {
  const ExtentRecord& r = region.extent(first);
  --shard.large_objects;
  ++shard.large_frees;
  shard.large_bytes -= r.bytes;
  if (r.moved) moved_now.fetch_sub(1, std::memory_order_relaxed);
  mark_dirty(first, r.granules);
  shard.extents.release(first, r.granules);
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

size_t decommit_shard(Shard& shard, uint64_t goal) {
  size_t given = 0;
  while (given < goal << kGranuleShift) {
    Victims victims;
    take_victims(shard, goal - (given >> kGranuleShift), victims);
    if (victims.count == 0) break;
    const bool all = os::memory().decommit(victims.ranges, victims.count) == victims.granules << kGranuleShift;
    const size_t now = all ? victims.dirty << kGranuleShift : 0;
    decommit_calls.fetch_add(1, std::memory_order_relaxed);
    decommitted_bytes.fetch_add(now, std::memory_order_relaxed);
    const ShardGuard guard(shard);
    for (size_t i = 0; i < victims.count; ++i) {
      const GranuleIndex first = region.granule_of(reinterpret_cast<void*>(victims.ranges[i].start));
      const auto length = static_cast<uint32_t>(victims.ranges[i].bytes >> kGranuleShift);
      if (all) mark_clean(first, length);
      if (victims.in_block[i]) {
        release_run(shard, first, length);
      } else {
        shard.extents.release(first, length);
      }
    }
    if (!all) break;  // refused: what was not given stays dirty
    given += now;
  }
  return given;
}

size_t decommit_all(uint64_t goal_granules) {
  size_t given = 0;
  if (inside_lock()) return 0;
  for (Shard& shard : shards) {
    const uint64_t done = given >> kGranuleShift;
    if (done >= goal_granules) break;
    given += decommit_shard(shard, goal_granules - done);
  }
  return given;
}

// About to touch `granules` fresh ones: if more lies dirty than is allowed, give as much back first. So the resident
// size never grows while much of it is unused, and a steady program that reuses its memory never pays.
void make_room_for(uint32_t granules) {
  const int64_t dirty = dirty_granules.load(std::memory_order_relaxed);
  const uint64_t allowed = allowed_dirty() >> kGranuleShift;
  if (dirty > 0 && static_cast<uint64_t>(dirty) > allowed) {
    const uint64_t excess = static_cast<uint64_t>(dirty) - allowed;
    decommit_all(excess < granules ? granules : excess);
  }
}

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

// Home first, then any shard that is not busy, then home again, waiting for it, then by growing home. A handler inside
// a lock waits for nothing but the handlers' shard, which only handlers hold, and those never wait for anything else.
template <typename Attempt>
GranuleIndex find_memory(uint32_t granules, Attempt attempt) {
  const uint32_t home = home_shard();
  GranuleIndex found = try_shards(home, attempt);
  if (found != kNoGranule) return found;
  const bool handler = inside_lock();
  Shard& shard = shards[handler ? kHandlerShard : home];
  if (handler && (shard.lock.held_by_this_thread() || region.lock().held_by_this_thread())) return kNoGranule;
  if (!handler) make_room_for(granules);
  // Another thread may have freed or grown meanwhile.
  found = try_locked(shard, attempt);
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

bool page_init(const PageOptions& wanted) {
  options = wanted;
  huge_advice.set_mode(wanted.huge);
  return region.init(options.reserve_bytes);
}

GranuleIndex allocate_slab_run(uint32_t granules, bool* clean) {
  return find_memory(kBlockGranules, [&](Shard& shard) {
    const GranuleIndex run = shard.blocks.allocate(granules, clean);
    if (run != kNoGranule) return run;
    bool block_clean = false;
    const GranuleIndex block = shard.extents.allocate(kBlockGranules, kBlockGranules, &block_clean);
    if (block == kNoGranule) return kNoGranule;
    shard.blocks.add(block);
    return shard.blocks.allocate(granules, clean);
  });
}

void release_slab_run(GranuleIndex first, uint32_t granules) {
  region.extent(first).bytes = size_t{granules} << kGranuleShift;
  release_or_defer(first);
}

void* allocate_large(size_t bytes, size_t alignment, bool zero) {
  if (!fits_window(bytes) || alignment > kMaxAlignment) return nullptr;
  const size_t rounded = object_bytes(bytes);
  const uint32_t granules = granules_for(rounded);
  const auto granule_alignment = static_cast<uint32_t>(alignment <= kGranuleBytes ? 1 : alignment >> kGranuleShift);
  bool clean = false;
  const GranuleIndex first = find_memory(granules + granule_alignment - 1, [&](Shard& shard) {
    const GranuleIndex found = shard.extents.allocate(granules, granule_alignment, &clean);
    if (found == kNoGranule) return found;
    ExtentRecord& r = region.extent(found);
    r.granules = granules;
    r.bytes = rounded;
    r.moved = false;
    r.state.store(ExtentState::large, std::memory_order_release);
    ++shard.large_objects;
    ++shard.large_allocations;
    shard.large_bytes += rounded;
    return found;
  });
  if (first == kNoGranule) return nullptr;
  // The run is ours alone now: its dirty bits change only when we free it.
  if (zero && !clean) zero_dirty(first, rounded);
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

bool resize_large(void* p, size_t bytes) {
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
    r.granules = wanted;
    mark_dirty(tail, length);
    shard.extents.release(tail, length);
  }
  shard.large_bytes += rounded - r.bytes;
  r.bytes = rounded;
  return true;
}

void* move_large(void* p, size_t bytes) {
  // Each moved object is a kernel mapping of its own: few enough that vm.max_map_count is never near.
  constexpr uint64_t kMaxMoved = 1024;
  constexpr size_t kWorthMoving = kMiB;
  const GranuleIndex from = region.granule_of(p);
  const size_t old_bytes = region.extent(from).bytes;
  if (old_bytes < kWorthMoving || moved_now.load(std::memory_order_relaxed) >= kMaxMoved) return nullptr;
  void* moved = allocate_large(bytes, kGranuleBytes, false);
  if (moved == nullptr) return nullptr;
  void* start = nullptr;
  if (!os::memory().move_pages(address_of(p), address_of(moved), old_bytes)) {
    free_large(moved, &start);
    return nullptr;
  }
  moves.fetch_add(1, std::memory_order_relaxed);
  moved_now.fetch_add(1, std::memory_order_relaxed);
  region.extent(region.granule_of(moved)).moved = true;
  free_large(p, &start);
  return moved;
}

size_t page_trim(size_t goal) {
  const size_t all = region.committed_bytes();
  return decommit_all(divide_up(goal < all ? goal : all, kGranuleBytes));
}

void page_collect(PageStatistics& out) {
  out = {};
  for (Shard& shard : shards) {
    const ShardGuard guard(shard);
    out.dirty_bytes += shard_dirty(shard) << kGranuleShift;
    const uint64_t free_granules = shard.extents.free_granules() + shard.blocks.free_granules();
    out.clean_bytes += (free_granules - shard_dirty(shard)) << kGranuleShift;
    out.large_objects += shard.large_objects;
    out.large_bytes += shard.large_bytes;
    out.large_allocations += shard.large_allocations;
    out.large_frees += shard.large_frees;
    out.slab_run_bytes += shard.blocks.used_granules() << kGranuleShift;
    out.free_in_blocks_bytes += shard.blocks.free_granules() << kGranuleShift;
    out.extent_hits += shard.extents.counters().hits;
    out.extent_splits += shard.extents.counters().splits;
    out.extent_coalesces += shard.extents.counters().coalesces;
    out.free_extent_bytes += shard.extents.free_granules() << kGranuleShift;
    const uint64_t largest = uint64_t{shard.extents.largest_granules()} << kGranuleShift;
    out.largest_free_bytes = largest > out.largest_free_bytes ? largest : out.largest_free_bytes;
  }
  out.committed_bytes = region.committed_bytes();
  // Whole granules that neither slabs nor free extents have belong to large objects.
  const uint64_t accounted = out.dirty_bytes + out.clean_bytes + out.slab_run_bytes + out.large_bytes;
  out.large_tail_bytes = out.committed_bytes > accounted ? out.committed_bytes - accounted : 0;
  out.reserved_bytes = region.reserved_bytes();
  out.table_bytes = region.table_bytes();
  out.grows = region.grows();
  out.refusals = region.refusals();
  out.decommit_calls = decommit_calls.load(std::memory_order_relaxed);
  out.decommitted_bytes = decommitted_bytes.load(std::memory_order_relaxed);
  out.huge_advised_bytes = huge_advice.advised_bytes();
  out.moves = moves.load(std::memory_order_relaxed);
  // Chunks lie side by side and merge; a moved object or advice for a part splits one mapping into three. The tables
  // are five more.
  out.mappings = 1 + 2 * moved_now.load(std::memory_order_relaxed) + 5 + 2 * huge_advice.splits();
}

void page_audit() {
  for (Shard& shard : shards) {
    const ShardGuard guard(shard);
    shard.extents.audit();
    shard.blocks.audit();
  }
}

void page_before_fork() {
  for (unsigned i = 0; i < kShards; ++i) shards[i].lock.lock();
  region.lock().lock();
  shards[kHandlerShard].lock.lock();
}

void page_after_fork_parent() {
  shards[kHandlerShard].lock.unlock();
  region.lock().unlock();
  for (unsigned i = 0; i < kShards; ++i) shards[i].lock.unlock();
}

void page_after_fork_child(bool interrupted) {
  region.lock().reset_in_child(interrupted);
  for (Shard& shard : shards) shard.lock.reset_in_child(interrupted);
}

}  // namespace pm
