#include "page/decommit.h"

#include "os/memory.h"
#include "page/shard.h"

namespace pm {
namespace {

uint64_t dirty_limit = 0;

// Relaxed; read by the statistics.
std::atomic<uint64_t> decommit_calls{0};
std::atomic<uint64_t> decommitted_bytes{0};

// What may be free and resident before growth decommits: the limit, or a fifth of the heap if that is more.
uint64_t allowed_dirty() {
  const uint64_t fifth = region.committed_bytes() / 5;
  return fifth > dirty_limit ? fifth : dirty_limit;
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

}  // namespace

void set_dirty_limit(uint64_t bytes) { dirty_limit = bytes; }

size_t decommit_all(uint64_t goal_granules) {
  size_t given = 0;
  if (inside_lock()) return 0;
  release_deferred();
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

DecommitCounters decommit_counters() {
  return {decommit_calls.load(std::memory_order_relaxed), decommitted_bytes.load(std::memory_order_relaxed)};
}

}  // namespace pm
