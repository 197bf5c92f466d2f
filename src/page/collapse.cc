#include "page/collapse.h"

#include "os/memory.h"
#include "os/process.h"
#include "page/huge_blocks.h"
#include "page/shard.h"

namespace pm {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint16_t kLastingSeconds = 3;
// A collapse that takes longer than this is a sign that huge pages are dear now, or that the machine is busy: there is
// none for a while then, longer each time; what goes well shortens the next pause.
constexpr uint64_t kDearNanoseconds = 5'000'000;
constexpr uint64_t kLeastPause = 30 * kSecond;
constexpr uint64_t kMostPause = 3600 * kSecond;
// Under one hold of a shard's lock: extents and blocks looked at, and granules that are skipped.
constexpr unsigned kHeadsPerHold = 64;
constexpr uint32_t kSkipsPerHold = 4096;

// All relaxed: hints and counters.
std::atomic<uint64_t> cursor{0};  // a Place
std::atomic<uint64_t> pause{kLeastPause};
// Until when a round is not expected to find more than the last, which found nothing: what it saw as new was not
// lasting yet.
constexpr uint64_t kQuiet = (kLastingSeconds + 1) * kSecond;
std::atomic<uint64_t> quiet_until{0};
std::atomic<uint64_t> collapses{0};
std::atomic<uint64_t> failures{0};

uintptr_t block_address(uint32_t block) { return region_view.base + size_t{block} * kBlockBytes; }

// Seconds of a clock of eighteen hours; never 0.
uint16_t seconds_at(uint64_t now) {
  const auto seconds = static_cast<uint16_t>(now / kSecond);
  return seconds == 0 ? 1 : seconds;
}

// Where a walk over the heap is: at the first granule of an extent or block of slabs, of which the blocks before
// `block` are done.
struct Place {
  GranuleIndex head;
  uint32_t block;
};
Place unpack(uint64_t word) { return {static_cast<GranuleIndex>(word >> 32), static_cast<uint32_t>(word)}; }
uint64_t pack(Place place) { return uint64_t{place.head} << 32 | place.block; }

// Tells use(place, end block, state) of each run of blocks from `at` on that belongs together: one block of slabs, or
// the blocks wholly inside a large object or a free extent. One hold of the lock of the shard that owns `at`; returns
// where to go on. `use` returns false to stop.
template <typename Use>
Place walk(Place at, GranuleIndex end, Use use) {
  const auto go_to = [&at](GranuleIndex head) { at = {head, static_cast<uint32_t>(divide_up(head, kBlockGranules))}; };
  // Not mapped, or a file's.
  const uint8_t owner = region.block(at.head).owner.load(std::memory_order_acquire);
  if (owner == 0 || owner > kMaxShards) {
    go_to(region.next_used(static_cast<GranuleIndex>(align_down(at.head, kBlockGranules)) + kBlockGranules));
    return at;
  }
  Shard& shard = owner_of(at.head);
  const ShardGuard guard(shard);
  unsigned heads = 0;
  uint32_t skips = 0;
  while (heads < kHeadsPerHold && skips < kSkipsPerHold && at.head < end && region.is_owned_by(at.head, shard.id)) {
    const ExtentState state = region.extent(at.head).state.load(std::memory_order_relaxed);
    // Extents may have merged over the place.
    const uint32_t length = state == ExtentState::none    ? 1
                            : state == ExtentState::slabs ? kBlockGranules
                                                          : region.extent(at.head).granules;
    if (state == ExtentState::none) {
      ++skips;
    } else {
      const uint32_t behind = (at.head + length) / kBlockGranules;
      if (at.block < behind && !use(at, behind, state)) return at;
      ++heads;
    }
    go_to(at.head + length);
  }
  return at;
}

bool is_dense_by_granules(uint32_t block, ExtentState state) {
  if (state == ExtentState::large) return true;
  return state == ExtentState::slabs && kBlockGranules - count_bits(region.block_at(block).used) <= kMostFreeInDense;
}

struct Candidates {
  static constexpr unsigned kMax = 16;
  Place places[kMax];
  unsigned count = 0;
};

// Under the shard's lock: whether the block is due, by what the records say.
bool is_due(uint32_t block, ExtentState state, uint16_t now, bool at_once) {
  BlockRecord& r = region.block_at(block);
  if (!is_dense_by_granules(block, state)) {
    if (r.settled.load(std::memory_order_relaxed) != 0) r.settled.store(0, std::memory_order_relaxed);
    return false;
  }
  if (has_huge_bits(block, kIsHuge | kIsHugetlbfs)) return false;
  const uint16_t since = r.settled.load(std::memory_order_relaxed);
  if (since == 0) {
    r.settled.store(now, std::memory_order_relaxed);
    drop_huge_bits(block, kIsStubborn);
    return at_once;
  }
  if (at_once) return true;
  return !has_huge_bits(block, kIsStubborn) && static_cast<uint16_t>(now - since) >= kLastingSeconds;
}

Place find_candidates(Place at, GranuleIndex end, uint16_t now, bool at_once, Candidates& out) {
  Place stopped = {kNoGranule, 0};
  const Place next = walk(at, end, [&](Place place, uint32_t behind, ExtentState state) {
    for (; place.block < behind; ++place.block) {
      if (out.count == Candidates::kMax) {
        stopped = place;
        return false;
      }
      if (is_due(place.block, state, now, at_once)) out.places[out.count++] = place;
    }
    return true;
  });
  return stopped.head != kNoGranule ? stopped : next;
}

// Whether the kernel made the block huge already, as it does where there was advice.
bool is_huge_already(uint32_t block) {
  size_t found = 0;
  os::find_huge_pages(
      block_address(block), kBlockBytes,
      [](void* context, uintptr_t, size_t bytes) { *static_cast<size_t*>(context) += bytes; }, &found);
  return found == kBlockBytes;
}

void note_huge(uint32_t block) {
  add_huge_bits(block, kIsHuge);
  Shard& shard = owner_of(block * kBlockGranules);
  const ShardGuard guard(shard);
  const ExtentState state = region.extent(block * kBlockGranules).state.load(std::memory_order_relaxed);
  if (state == ExtentState::slabs) shard.blocks.note_resident(block);
}

// Returns whether the block became huge.
bool collapse(uint32_t block) {
  if (has_huge_bits(block, kIsAdvised) && is_huge_already(block)) {
    note_huge(block);
    return false;
  }
  if (os::memory().resident(block_address(block), kBlockBytes) < kLeastResident) {
    region.block_at(block).settled.store(0, std::memory_order_relaxed);
    return false;
  }
  const bool done =
      huge_advice.readmit(block) && os::memory().collapse(block_address(block), kBlockBytes) == os::Collapse::done;
  (done ? collapses : failures).fetch_add(1, std::memory_order_relaxed);
  if (done) {
    note_huge(block);
  } else {
    add_huge_bits(block, kIsStubborn);
  }
  return done;
}

// After a collapse in time that began at `start`. False if there should be no other for a while.
bool goes_well(uint64_t start) {
  const uint64_t now = os::monotonic_ns();
  const uint64_t last = pause.load(std::memory_order_relaxed);
  const bool well = now - start <= kDearNanoseconds;
  if (!well) quiet_until.store(now + last, std::memory_order_relaxed);
  const uint64_t next = well ? last - last / 16 : last * 2;
  pause.store(next < kLeastPause ? kLeastPause : next < kMostPause ? next : kMostPause, std::memory_order_relaxed);
  return well;
}

}  // namespace

size_t page_collapse(const CollapseBudget& budget) {
  if (inside_lock() || !huge_advice.allows_huge()) return 0;
  if (!budget.at_once && huge_advice.mode() == HugeMode::automatic && region.committed_bytes() < kLargeHeap) return 0;
  const GranuleIndex first = region.first_granule();
  const GranuleIndex end = region.end_granule();
  const uint64_t start = os::monotonic_ns();
  Place at = unpack(cursor.load(std::memory_order_relaxed));
  if (at.head < first || at.head >= end) at = {first, first / kBlockGranules};
  // The first part of the round goes from here to the end, the second from the start to here; or to behind what covers
  // this place, if the first began in its middle.
  const GranuleIndex here = at.block == divide_up(at.head, kBlockGranules) ? at.head : at.head + 1;
  GranuleIndex limit = end;
  bool is_second = false;
  size_t gained = 0;
  bool is_over = budget.blocks == 0 || end <= first;
  const auto look_at_clock = [&] { is_over = is_over || os::monotonic_ns() - start >= budget.nanoseconds; };
  while (!is_over) {
    if (at.head >= limit) {
      if (is_second || here == first) break;
      at = {first, first / kBlockGranules};
      limit = here;
      is_second = true;
    }
    Candidates due;
    at = find_candidates(at, limit, seconds_at(start), budget.at_once, due);
    for (unsigned i = 0; i < due.count && !is_over; ++i) {
      const uint64_t before = os::monotonic_ns();
      if (collapse(due.places[i].block)) gained += kBlockBytes;
      is_over = gained / kBlockBytes >= budget.blocks || (!budget.at_once && !goes_well(before));
      look_at_clock();
      if (is_over && i + 1 < due.count) at = due.places[i + 1];
    }
    look_at_clock();
  }
  cursor.store(pack(at), std::memory_order_relaxed);
  // The whole round was made, for nothing.
  if (!is_over && gained == 0) quiet_until.store(start + kQuiet, std::memory_order_relaxed);
  return gained;
}

uint64_t collapsible_bytes() {
  const size_t committed = region.committed_bytes();
  if (committed < kLargeHeap || !huge_advice.allows_huge()) return 0;
  return os::monotonic_ns() < quiet_until.load(std::memory_order_relaxed) ? 0 : committed;
}

CollapseCounters collapse_counters() {
  return {collapses.load(std::memory_order_relaxed), failures.load(std::memory_order_relaxed)};
}

namespace {

// Sets the bit of the blocks that the kernel says are huge, and drops it from the others.
void refresh(GranuleIndex first, GranuleIndex end) {
  uint32_t next = first / kBlockGranules;  // the first block nothing was told of
  const bool works = os::find_huge_pages(
      address_of(region.address(first)), size_t{end - first} << kGranuleShift,
      [](void* context, uintptr_t from, size_t bytes) {
        auto& seen = *static_cast<uint32_t*>(context);
        const auto begin = static_cast<uint32_t>((from - region_view.base) / kBlockBytes);
        const auto behind = static_cast<uint32_t>((from + bytes - region_view.base) / kBlockBytes);
        for (; seen < begin; ++seen) drop_huge_bits(seen, kIsHuge);
        for (; seen < behind; ++seen) add_huge_bits(seen, kIsHuge);
      },
      &next);
  for (; works && next < end / kBlockGranules; ++next) drop_huge_bits(next, kIsHuge);
}

}  // namespace

void huge_collect(HugeStatistics& out) {
  out = {};
  region.each_used(refresh);
  const GranuleIndex end = region.end_granule();
  for (Place at = {region.first_granule(), region.first_granule() / kBlockGranules}; at.head < end;) {
    at = walk(at, end, [&](Place place, uint32_t behind, ExtentState state) {
      if (state != ExtentState::slabs && state != ExtentState::large) return true;
      for (uint32_t b = place.block; b < behind; ++b) {
        out.eligible_bytes += kBlockBytes;
        if (!has_huge_bits(b, kIsHuge | kIsHugetlbfs)) continue;
        out.huge_bytes += kBlockBytes;
        if (state == ExtentState::large) continue;
        out.waste_bytes += size_t{kBlockGranules - count_bits(region.block_at(b).used)} << kGranuleShift;
      }
      return true;
    });
  }
}

}  // namespace pm
