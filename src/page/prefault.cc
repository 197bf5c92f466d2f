// Touching free memory before anybody asks for it: to spare its next owner the faults, or to learn what they cost.
#include "os/memory.h"
#include "os/thread.h"
#include "page/page.h"
#include "page/shard.h"

namespace pm {
namespace {

// One call holds the kernel's lock on the address space for about 10 ms at most.
constexpr uint32_t kMostBlocks = 16;

struct Run {
  GranuleIndex first;
  uint32_t granules;
};

// Clean huge blocks side by side, at most `blocks`, taken out of the shard's extents; 0 granules if it has none.
Run take_clean_run(Shard& shard, uint32_t blocks) {
  const ShardGuard guard(shard);
  for (uint32_t granules = blocks * kBlockGranules; granules >= kBlockGranules; granules /= 2) {
    const GranuleIndex first = shard.extents.allocate_clean(granules, kBlockGranules);
    if (first == kNoGranule) continue;
    region.extent(first).granules = granules;
    region.extent(first + granules - 1).head.store(first, std::memory_order_relaxed);
    region.extent(first).state.store(ExtentState::busy, std::memory_order_release);
    shard.busy += granules;
    shard.busy_dirty += granules;
    return {first, granules};
  }
  return {0, 0};
}

// Touches the run and puts it back. With `keep` it stays resident. Returns the nanoseconds of CPU time that touching
// took, or 0 if the system refused. (Not of the clock on the wall: on a busy machine that shows who else wants the CPU,
// a hundredfold.)
uint64_t touch_run(Shard& shard, const Run& run, bool keep) {
  const os::PageRange range = {address_of(region.address(run.first)), size_t{run.granules} << kGranuleShift};
  const uint64_t before = os::thread_cpu_ns();
  const bool populated = os::memory().populate(range.start, range.bytes);
  const uint64_t taken = os::thread_cpu_ns() - before;
  const bool clean = !(keep && populated) && os::memory().decommit(&range, 1) == range.bytes;
  const ShardGuard guard(shard);
  shard.busy -= run.granules;
  shard.busy_dirty -= run.granules;
  if (!clean) mark_dirty(run.first, run.granules);
  shard.extents.put_back(run.first, run.granules);
  return populated ? taken + 1 : 0;
}

}  // namespace

uint64_t page_measure_refault() {
  if (inside_lock()) return 0;
  for (Shard& shard : shards) {
    const Run run = take_clean_run(shard, 1);
    if (run.granules != 0) return touch_run(shard, run, false);
  }
  return 0;
}

size_t page_prefault(size_t goal) {
  size_t touched = 0;
  if (inside_lock()) return 0;
  for (Shard& shard : shards) {
    while (touched < goal) {
      const size_t wanted = divide_up(goal - touched, kBlockBytes);
      const Run run = take_clean_run(shard, wanted < kMostBlocks ? static_cast<uint32_t>(wanted) : kMostBlocks);
      if (run.granules == 0) break;
      if (touch_run(shard, run, true) == 0) return touched;
      touched += size_t{run.granules} << kGranuleShift;
    }
  }
  return touched;
}

}  // namespace pm
