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

os::PageRange pages_of(const Run& run) {
  return {address_of(region.address(run.first)), size_t{run.granules} << kGranuleShift};
}

void put_back(Shard& shard, const Run& run, bool clean) {
  const ShardGuard guard(shard);
  shard.busy -= run.granules;
  shard.busy_dirty -= run.granules;
  if (!clean) mark_dirty(run.first, run.granules);
  shard.extents.put_back(run.first, run.granules);
}

// So much of a block is touched to learn what a refault costs: enough to measure, and not so much that a small process
// reaches its highest resident size by it.
constexpr size_t kProbeBytes = 2 * kGranuleBytes;

// Nanoseconds of CPU time for a block, told from its first pages; 0 if the system refused. (Not of the clock on the
// wall: on a busy machine that shows who else wants the CPU, a hundredfold.)
uint64_t probe(const os::PageRange& block) {
  const uint64_t before = os::thread_cpu_ns();
  if (!os::memory().populate(block.start, kProbeBytes)) return 0;
  const uint64_t taken = os::thread_cpu_ns() - before;
  // Where the kernel gives a huge page, its first pages bring all others.
  const bool whole = os::memory().resident(block.start, block.bytes) == block.bytes;
  return 1 + (whole ? taken : taken * (block.bytes / kProbeBytes));
}

}  // namespace

uint64_t page_measure_refault() {
  if (inside_lock()) return 0;
  for (Shard& shard : shards) {
    const Run run = take_clean_run(shard, 1);
    if (run.granules == 0) continue;
    const os::PageRange block = pages_of(run);
    const uint64_t taken = probe(block);
    put_back(shard, run, os::memory().decommit(&block, 1) == block.bytes);
    return taken;
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
      const os::PageRange pages = pages_of(run);
      const bool populated = os::memory().populate(pages.start, pages.bytes);
      put_back(shard, run, !populated && os::memory().decommit(&pages, 1) == pages.bytes);
      if (!populated) return touched;
      touched += pages.bytes;
    }
  }
  return touched;
}

}  // namespace pm
