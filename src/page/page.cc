#include "page/page.h"

#include "os/memory.h"
#include "os/process.h"
#include "page/collapse.h"
#include "page/decommit.h"
#include "page/huge_blocks.h"
#include "page/hugetlb.h"
#include "page/mapping_budget.h"
#include "page/shard.h"

namespace pm {

bool page_init(const PageOptions& options) {
  set_dirty_limit(options.dirty_bytes);
  huge_advice.set_mode(options.huge);
  if (options.huge == HugeMode::hugetlb) hugetlb_pages.enable();
  set_fit(options.fit);
  shards.make(0, shards_of(1));
  return region.init(options.reserve_bytes);
}

GranuleIndex allocate_slab_run(uint32_t granules, bool* clean, Placement placement) {
  const auto attempt = [&](Shard& shard) {
    const GranuleIndex run = shard.blocks.allocate(granules, clean);
    if (run != kNoGranule) return run;
    const GranuleIndex block = shard.extents.allocate(kBlockGranules, kBlockGranules);
    if (block == kNoGranule) return kNoGranule;
    shard.blocks.add(block);
    return shard.blocks.allocate(granules, clean);
  };
  if (placement == Placement::local) return find_on(this_node(), kBlockGranules, Growth::if_room, attempt);
  return find_memory(kBlockGranules, attempt);
}

void release_slab_run(GranuleIndex first, uint32_t granules) {
  region.extent(first).bytes = size_t{granules} << kGranuleShift;
  release_or_defer(first);
}

bool prepare_inner_decommit(GranuleIndex first, uint32_t granules) {
  if (touches_hugetlb(first, granules)) return false;
  huge_advice.bar_touched(first, granules);
  forget_huge(first, granules);
  return true;
}

size_t page_trim(size_t goal, TrimScope scope) {
  const size_t all = region.committed_bytes();
  return decommit_all(divide_up(goal < all ? goal : all, kGranuleBytes),
                      {.wait = true, .break_dense = goal >= all || scope == TrimScope::even_dense, .scope = scope});
}

PM_RARE bool page_in_hand() {
  for (Shard& shard : shards) {
    const ShardGuard guard(shard);
    if (shard.busy != 0) return true;
  }
  return false;
}

PM_RARE DirtyFigures page_dirty() {
  DirtyFigures out = {0, 0};
  for (Shard& shard : shards) {
    const ShardGuard guard(shard);
    const uint64_t in_blocks = shard.extents.dirty_block_granules();
    out.block_bytes += in_blocks << kGranuleShift;
    out.run_bytes += (shard_dirty(shard) - in_blocks) << kGranuleShift;
  }
  return out;
}

PM_RARE PageFigures page_figures() {
  PageFigures out = {};
  for (Shard& shard : shards) {
    const ShardGuard guard(shard);
    out.dirty_bytes += shard_dirty(shard) << kGranuleShift;
    out.slab_run_bytes += shard.blocks.used_granules() << kGranuleShift;
    out.large_bytes += shard.large_bytes;
    out.large_released_bytes += shard.large_released_bytes;
  }
  out.committed_bytes = region.committed_bytes();
  out.exposed_bytes = exposed_bytes();
  out.decommitted_bytes = decommit_counters().bytes;
  return out;
}

PM_RARE void page_collect(PageStatistics& out) {
  out = {};
  // A signal handler inside a lock waits for none: it leaves out what is locked.
  const bool handler = inside_lock();
  if (!handler) release_deferred(true);
  for (Shard& shard : shards) {
    if (handler && !shard.lock.try_lock()) continue;
    const ShardGuard guard(shard, handler);
    // What is in hand to be decommitted is still dirty.
    out.dirty_bytes += (shard_dirty(shard) + shard.busy) << kGranuleShift;
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
    out.extent_coalescable += shard.extents.counters().coalescable;
    out.extent_coalesced += shard.extents.counters().coalesced;
    out.free_extent_bytes += shard.extents.free_granules() << kGranuleShift;
    const uint64_t largest = uint64_t{shard.extents.largest_granules()} << kGranuleShift;
    out.largest_free_bytes = largest > out.largest_free_bytes ? largest : out.largest_free_bytes;
  }
  if (out.free_extent_bytes != 0) {
    out.fragmentation_permille = 1000 * (out.free_extent_bytes - out.largest_free_bytes) / out.free_extent_bytes;
  }
  out.committed_bytes = region.committed_bytes();
  // Whole granules that neither slabs nor free extents have belong to large objects.
  const uint64_t accounted = out.dirty_bytes + out.clean_bytes + out.slab_run_bytes + out.large_bytes;
  out.large_tail_bytes = out.committed_bytes > accounted ? out.committed_bytes - accounted : 0;
  out.reserved_bytes = region.reserved_bytes();
  out.grows = region.grows();
  out.refusals = region.refusals();
  const DecommitCounters decommits = decommit_counters();
  out.decommit_calls = decommits.calls;
  out.decommitted_bytes = decommits.bytes;
  out.released_growth_bytes = decommits.growth_bytes;
  out.huge_advised_bytes = huge_advice.advised_bytes();
  out.moves = large_moves();
  out.mappings = mapping_budget.estimate();
  out.mapping_refusals = mapping_budget.refusals();
  out.hugetlb_bytes = hugetlb_pages.bytes();
  out.hugetlb_fallbacks = hugetlb_pages.fallbacks();
  const CollapseCounters collapses = collapse_counters();
  out.collapses = collapses.done;
  out.collapse_failures = collapses.failed;
  const NodeCounters nodes = node_counters();
  out.nodes = node_count();
  out.node_fallbacks = nodes.fallbacks;
  out.bound_bytes = nodes.bound_bytes;
  out.bind_failures = nodes.bind_failures;
}

uint64_t page_table_bytes() { return region.table_bytes(); }

uint64_t page_resident_bytes() {
  uint64_t sum = 0;
  region.each_used([&](GranuleIndex first, GranuleIndex end) {
    sum += os::memory().resident(address_of(region.address(first)), size_t{end - first} << kGranuleShift);
  });
  return sum;
}

NodeStatistics page_collect_node(unsigned node) {
  NodeStatistics out = {};
  for (Shard& shard : shards) {
    if (node_of_shard(shard.id) != node) continue;
    const ShardGuard guard(shard);
    out.mapped_bytes += shard.mapped << kGranuleShift;
    out.slab_bytes += shard.blocks.used_granules() << kGranuleShift;
    out.large_bytes += shard.large_bytes;
    out.dirty_bytes += (shard_dirty(shard) + shard.busy) << kGranuleShift;
    out.clean_bytes += (shard_free(shard) - shard_dirty(shard)) << kGranuleShift;
  }
  return out;
}

void page_audit() {
  for (Shard& shard : shards) {
    const ShardGuard guard(shard);
    shard.extents.audit();
    shard.blocks.audit();
  }
}

namespace {

// The nodes whose shards before_fork locked; touched by the thread that holds their locks only.
unsigned locked_nodes = 0;

// In the order of their ranks: the first of every node, then the second of every node.
void lock_shards(unsigned nodes) {
  for (unsigned home = 0; home < kShards; ++home) {
    for (unsigned node = 0; node < nodes; ++node) shards[shard_id(node, home)].lock.lock_for_fork();
  }
}

void unlock_shards(unsigned nodes) {
  for (unsigned home = kShards; home-- > 0;) {
    for (unsigned node = 0; node < nodes; ++node) shards[shard_id(node, home)].lock.unlock();
  }
}

bool any_busy() {
  bool found = false;
  for (const Shard& shard : shards) found = found || shard.busy != 0;
  return found;
}

// How long a fork waits for decommits under way. A slow one is the child's loss: the memory stays out of its heap.
constexpr uint64_t kLongestWait = 20'000'000;
constexpr uint64_t kBetweenLooks = 200'000;

}  // namespace

PM_RARE void page_before_fork() {
  hold_decommits(true);
  const uint64_t start = os::monotonic_ns();
  for (;;) {
    const unsigned nodes = node_count();
    lock_shards(nodes);
    region.lock().lock();
    shards[kHandlerShard].lock.lock();
    // The number of nodes changes under the region's lock, once in the life of a process.
    if (nodes == node_count() && (!any_busy() || os::monotonic_ns() - start > kLongestWait)) {
      locked_nodes = nodes;
      return;
    }
    shards[kHandlerShard].lock.unlock();
    region.lock().unlock();
    unlock_shards(nodes);
    os::sleep_ns(kBetweenLooks);
  }
}

void page_after_fork_parent() {
  hold_decommits(false);
  const unsigned nodes = locked_nodes;
  shards[kHandlerShard].lock.unlock();
  region.lock().unlock();
  unlock_shards(nodes);
}

void page_after_fork_child(bool interrupted) {
  hold_decommits(false);
  region.lock().reset_in_child(interrupted);
  for (Shard& shard : shards) shard.lock.reset_in_child(interrupted);
  nodes_after_fork_child();
  huge_advice.after_fork_child();
}

}  // namespace pm
