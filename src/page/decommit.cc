#include "page/decommit.h"

#include "os/memory.h"
#include "os/process.h"
#include "page/huge_blocks.h"
#include "page/hugetlb.h"
#include "page/shard.h"

namespace pm {
namespace {

// Relaxed: a setting, in force from the next look on.
std::atomic<uint64_t> dirty_limit{0};
// Worth keeping, in bytes. Relaxed: a hint.
std::atomic<uint64_t> kept_bytes{0};

uint64_t larger_of(uint64_t a, uint64_t b) { return a > b ? a : b; }
uint64_t smaller_of(uint64_t a, uint64_t b) { return a < b ? a : b; }

// Relaxed: one that misses it is waited for all the same.
std::atomic<bool> held{false};

// Relaxed; read by the statistics.
std::atomic<uint64_t> decommit_calls{0};
std::atomic<uint64_t> decommitted_bytes{0};
std::atomic<uint64_t> growth_bytes{0};  // of those, by make_room_for and note_fresh

// Whoever takes clean memory while much is dirty pays back one granule for each millisecond that has passed, so that
// decommitting and touching again cost a busy program two hundredths of its time at most (a granule's round trip costs
// about 20 us), and a short one nothing. What a pause has saved up is limited to some 16 s.
constexpr uint64_t kNanosecondsPerGranule = 1'000'000;
constexpr uint64_t kMostSaved = 16'000'000'000;
// The time up to which has been paid; 0 until the clock is first looked at. Relaxed: whoever advances it owns the step.
std::atomic<uint64_t> paid_until{0};
uint64_t (*replaced_clock)() = nullptr;

// How many of `wanted` granules the time that has passed allows for; they count as given.
uint64_t claim_by_time(uint64_t wanted) {
  const uint64_t now = replaced_clock != nullptr ? replaced_clock() : os::monotonic_ns();
  uint64_t paid = paid_until.load(std::memory_order_relaxed);
  if (paid == 0) {
    paid_until.compare_exchange_strong(paid, now, std::memory_order_relaxed);
    return 0;
  }
  const uint64_t from = now > kMostSaved && paid < now - kMostSaved ? now - kMostSaved : paid;
  const uint64_t affordable = now > from ? (now - from) / kNanosecondsPerGranule : 0;
  const uint64_t given = wanted < affordable ? wanted : affordable;
  if (given == 0) return 0;
  const uint64_t until = from + given * kNanosecondsPerGranule;
  return paid_until.compare_exchange_strong(paid, until, std::memory_order_relaxed) ? given : 0;
}

// What may lie dirty whatever the program holds.
uint64_t at_least_limit(uint64_t granules) {
  const uint64_t limit =
      larger_of(dirty_limit.load(std::memory_order_relaxed), kept_bytes.load(std::memory_order_relaxed)) >>
      kGranuleShift;
  return larger_of(granules, limit);
}

constexpr uint64_t kDirtyShare = 50;

struct Holdings {
  uint64_t used;
  uint64_t dirty;
};

// What is handed out, and what lies free and dirty; up to what is in flight.
Holdings holdings() {
  const uint64_t all = region.committed_bytes() >> kGranuleShift;
  uint64_t free = 0;
  uint64_t dirty = 0;
  for (const Shard& shard : shards) {
    free += shard.free_hint.load(std::memory_order_relaxed);
    dirty += shard.dirty_hint.load(std::memory_order_relaxed);
  }
  return {free < all ? all - free : 0, dirty};
}

// Runs that are out of the shard's structures while the system works, so that a slow decommit keeps nobody else
// waiting.
struct Victim {
  GranuleIndex first;
  uint32_t length;
  // The part that is decommitted.
  GranuleIndex from;
  uint32_t granules;
  bool in_block;
  bool hugetlb;
  bool done;
};

struct Victims {
  static constexpr size_t kMax = 64;
  Victim all[kMax];
  size_t count = 0;
  uint64_t granules = 0;  // out of the shard's structures
  uint64_t dirty = 0;     // of those, granules that may be resident: what is really given back

  void add(GranuleIndex first, uint32_t length, bool in_block) {
    Victim& victim = all[count++];
    victim = {first, length, first, length, in_block, touches_hugetlb(first, length), false};
    if (victim.hugetlb) Hugetlb::clip(victim.from, victim.granules);
    const uint32_t here = count_dirty(victim.from, victim.granules);
    if (here == 0) victim.granules = 0;
    granules += length;
    dirty += here;
  }
};

// Free extents first, the longest first: the whole huge blocks are in those. Then runs between slabs, those in the
// emptiest blocks first.
void take_victims(Shard& shard, uint64_t goal, Thoroughness how, Victims& victims) {
  if (held.load(std::memory_order_relaxed)) return;
  if (how.wait) {
    shard.lock.lock();
  } else if (!shard.lock.try_lock()) {
    return;
  }
  const ShardGuard guard(shard, true);
  while (victims.count < Victims::kMax && victims.dirty < goal) {
    if (how.scope == TrimScope::blocks && shard.extents.dirty_block_granules() == 0) break;
    const GranuleIndex extent = shard.extents.take_dirty(goal - victims.dirty);
    if (extent != kNoGranule) {
      victims.add(extent, region.extent(extent).granules, false);
      continue;
    }
    uint32_t length = 0;
    const GranuleIndex run = shard.blocks.take_dirty(&length, how.break_dense);
    if (run == kNoGranule) break;
    victims.add(run, length, true);
  }
  shard.busy += victims.granules;
  shard.busy_dirty += victims.dirty;
}

// The system's part, outside of all locks. Returns whether it did all that was asked.
bool give_to_system(Victims& victims) {
  os::PageRange ranges[Victims::kMax];
  size_t count = 0;
  uint64_t bytes = 0;
  bool all = true;
  for (size_t i = 0; i < victims.count; ++i) {
    Victim& victim = victims.all[i];
    huge_advice.bar_partial(victim.from, victim.granules);
    if (victim.hugetlb) {
      victim.done = hugetlb_pages.decommit(victim.from, victim.granules);
      all = all && victim.done;
      continue;
    }
    ranges[count] = {address_of(region.address(victim.from)), size_t{victim.granules} << kGranuleShift};
    bytes += ranges[count++].bytes;
  }
  const bool ordinary = count == 0 || os::memory().decommit(ranges, count) == bytes;
  for (size_t i = 0; i < victims.count; ++i) {
    Victim& victim = victims.all[i];
    if (!victim.hugetlb) victim.done = ordinary;
    if (!victim.done) continue;
    forget_huge(victim.from, victim.granules);
    huge_advice.readmit_whole(victim.from, victim.granules);
  }
  return all && ordinary;
}

// Decommits dirty runs of one shard until `goal` granules are given.
PM_RARE size_t decommit_shard(Shard& shard, uint64_t goal, Thoroughness how) {
  size_t given = 0;
  while (given < goal << kGranuleShift) {
    Victims victims;
    take_victims(shard, goal - (given >> kGranuleShift), how, victims);
    if (victims.count == 0) break;
    bool goes_on = give_to_system(victims);
    decommit_calls.fetch_add(1, std::memory_order_relaxed);
    size_t now = 0;
    const ShardGuard guard(shard);
    shard.busy -= victims.granules;
    shard.busy_dirty -= victims.dirty;
    for (size_t i = 0; i < victims.count; ++i) {
      const Victim& victim = victims.all[i];
      if (victim.done) {
        now += size_t{count_dirty(victim.from, victim.granules)} << kGranuleShift;
        mark_clean(victim.from, victim.granules);
      }
      if (victim.in_block) {
        release_run(shard, victim.first, victim.length);
      } else {
        shard.extents.put_back(victim.first, victim.length);
      }
    }
    decommitted_bytes.fetch_add(now, std::memory_order_relaxed);
    given += now;
    // What was refused stays dirty, and so do parts of pages of hugetlbfs: they would be taken again.
    goes_on = goes_on && now != 0;
    if (!goes_on) break;
  }
  return given;
}

}  // namespace

void set_dirty_limit(uint64_t bytes) { dirty_limit.store(bytes, std::memory_order_relaxed); }

void hold_decommits(bool hold) { held.store(hold, std::memory_order_relaxed); }

void page_keep(uint64_t bytes) { kept_bytes.store(bytes, std::memory_order_relaxed); }

size_t decommit_all(uint64_t goal_granules, Thoroughness how) {
  size_t given = 0;
  if (inside_lock()) return 0;
  release_deferred(how.wait);
  for (Shard& shard : shards) {
    const uint64_t done = given >> kGranuleShift;
    if (done >= goal_granules) break;
    given += decommit_shard(shard, goal_granules - done, how);
  }
  return given;
}

namespace {

void decommit_for_growth(uint64_t granules) {
  growth_bytes.fetch_add(decommit_all(granules, {}), std::memory_order_relaxed);
}

}  // namespace

// The heap is about to grow by `granules`: if more lies dirty than a fifth of it, give as much back first. So the
// resident size never grows while much of it is unused, and a steady program that reuses its memory never pays.
void make_room_for(uint32_t granules) {
  const Holdings now = holdings();
  const uint64_t allowed = at_least_limit(region.committed_bytes() / 5 >> kGranuleShift);
  if (now.dirty <= allowed) return;
  const uint64_t kept = smaller_of(kept_bytes.load(std::memory_order_relaxed) >> kGranuleShift, now.dirty);
  decommit_for_growth(smaller_of(larger_of(now.dirty - allowed, granules), now.dirty - kept));
}

// Clean memory raises the resident size as growth does, without being asked for again and again: it is taken because
// nothing dirty fits. Of what lies dirty beyond a fiftieth of what is in use, as much goes as time allows for.
void note_fresh() {
  const Holdings now = holdings();
  const uint64_t allowed = at_least_limit(now.used / kDirtyShare);
  if (now.dirty <= allowed || inside_lock()) return;
  const uint64_t granules = claim_by_time(now.dirty - allowed);
  if (granules != 0) decommit_for_growth(granules);
}

void set_decommit_clock(uint64_t (*clock)()) { replaced_clock = clock; }

DecommitCounters decommit_counters() {
  return {decommit_calls.load(std::memory_order_relaxed), decommitted_bytes.load(std::memory_order_relaxed),
          growth_bytes.load(std::memory_order_relaxed)};
}

}  // namespace pm
