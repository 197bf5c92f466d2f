// The statistics: every layer's numbers, brought into one Snapshot.
#include "runtime/collect.h"

#include <atomic>
#include <cstring>

#include "heap/file_heap.h"
#include "heap/heap.h"
#include "magazine/depot.h"
#include "magazine/magazine.h"
#include "metrics/events.h"
#include "os/process.h"
#include "page/exposure.h"
#include "page/page.h"
#include "profile/profile.h"
#include "reclaim/worker.h"
#include "runtime/live_options.h"
#include "runtime/notify.h"
#include "runtime/runtime.h"

namespace pm {
namespace {

std::atomic<uint64_t> fork_children{0};

// Objects handed out and not taken back, by the magazines' counters. Of those the misses have 32 bits, so only as many
// of the result count.
uint32_t count_live(const MagazineClassStatistics& row) {
  return static_cast<uint32_t>(row.pops + row.misses - row.pushes - row.overflows);
}

// What went past the magazines because it was sampled counts as what they could not serve.
void collect_magazines(MagazineClassStatistics (&rows)[kMaxClasses]) {
  magazine_collect(rows);
  for (unsigned id = 1; id < class_table->count; ++id) {
    const SampledCounts counts = profile_counts(static_cast<ClassId>(id));
    rows[id].misses += counts.allocations;
    rows[id].overflows += counts.frees;
  }
}

void collect_classes(const HeapWalk& walk, Snapshot& out) {
  static_assert(kMaxClasses <= kMaxSnapshotClasses);
  MagazineClassStatistics magazines[kMaxClasses];
  collect_magazines(magazines);
  out.class_count = class_table->count - 1;
  for (uint32_t id = 1; id < class_table->count; ++id) {
    const SizeClass& c = size_class(static_cast<ClassId>(id));
    const SlabClassStatistics& slab = walk.slabs[id];
    const MagazineClassStatistics& magazine = magazines[id];
    // What the walk saw, and what has changed since.
    const auto change = static_cast<int32_t>(count_live(magazine) - walk.counted[id]);
    const auto live_now = static_cast<int64_t>(walk.live[id]) + change;
    const uint64_t live = live_now > 0 ? static_cast<uint64_t>(live_now) : 0;
    Snapshot::ClassRow& row = out.classes[id - 1];
    row.size = c.size;
    row.live_objects = live;
    row.magazine_objects = magazine.magazine_objects;
    row.depot_objects = magazine.depot_objects;
    row.slabs = slab.slabs;
    row.slot_capacity = slab.slots;
    row.hits = magazine.pops + magazine.pushes;
    row.misses = magazine.misses + magazine.overflows;
    out.live_objects += live;
    out.live_small_bytes += live * c.size;
    out.magazine_objects += magazine.magazine_objects;
    out.magazine_bytes += magazine.magazine_objects * c.size;
    out.magazine_capacity_bytes += magazine.capacity * c.size;
    out.depot_objects += magazine.depot_objects;
    out.depot_bytes += magazine.depot_objects * c.size;
    out.slabs += slab.slabs;
    out.slab_tail_bytes += slab.slabs * c.slab_granules * kGranuleBytes - slab.slots * c.size;
    out.allocations += magazine.pops + magazine.misses;
    out.frees += magazine.pushes + magazine.overflows;
    out.magazine_hits += row.hits;
    out.magazine_misses += row.misses;
  }
}

// What of the slabs is in no object, magazine or batch.
void collect_slab_bytes(uint64_t run_bytes, Snapshot& out) {
  const uint64_t elsewhere = out.live_small_bytes + out.magazine_bytes + out.depot_bytes + out.slab_tail_bytes;
  out.slab_bytes = run_bytes;
  out.slab_free_bytes = run_bytes > elsewhere ? run_bytes - elsewhere : 0;
}

void collect_pages(const HeapWalk& walk, Snapshot& out) {
  PageStatistics pages;
  page_collect(pages);
  out.live_large_bytes = pages.large_bytes;
  out.large_tail_bytes = pages.large_tail_bytes;
  out.large_objects = pages.large_objects;
  out.large_allocations = pages.large_allocations;
  out.large_frees = pages.large_frees;
  out.committed_bytes = pages.committed_bytes;
  out.reserved_bytes = pages.reserved_bytes;
  out.dirty_bytes = pages.dirty_bytes;
  out.clean_bytes = pages.clean_bytes;
  out.huge_advised_bytes = pages.huge_advised_bytes;
  out.extent_hits = pages.extent_hits;
  out.extent_splits = pages.extent_splits;
  out.extent_coalesces = pages.extent_coalesces;
  out.extent_coalescable = pages.extent_coalescable;
  out.extent_coalesced = pages.extent_coalesced;
  out.largest_free_bytes = pages.largest_free_bytes;
  out.free_extent_bytes = pages.free_extent_bytes;
  out.fragmentation_permille = pages.fragmentation_permille;
  out.region_grows = pages.grows;
  out.decommit_calls = pages.decommit_calls;
  out.decommitted_bytes = pages.decommitted_bytes;
  out.released_growth_bytes = pages.released_growth_bytes;
  out.commit_failures = pages.refusals;
  out.mappings = pages.mappings;
  out.mapping_refusals = pages.mapping_refusals;
  out.collapses = pages.collapses;
  out.collapse_failures = pages.collapse_failures;
  out.hugetlb_bytes = pages.hugetlb_bytes;
  out.hugetlb_fallbacks = pages.hugetlb_fallbacks;
  out.huge_eligible_bytes = walk.huge.eligible_bytes;
  out.huge_bytes = walk.huge.huge_bytes;
  out.huge_waste_bytes = walk.huge.waste_bytes;
  out.nodes = pages.nodes;
  out.bound_bytes = pages.bound_bytes;
  out.bind_failures = pages.bind_failures;
  out.node_fallbacks = pages.node_fallbacks;
  out.metadata_bytes = walk.table_bytes;
  collect_slab_bytes(pages.slab_run_bytes, out);
}

void collect_profile(Snapshot& out) {
  const ProfileStatistics profile = profile_statistics();
  out.profile_period_bytes = profile.period;
  out.profile_samples = profile.samples;
  out.profile_dropped = profile.dropped;
  out.profile_live_samples = profile.live_samples;
  out.profile_metadata_bytes = profile.table_bytes;
  out.metadata_bytes += profile.table_bytes;
}

void collect_file_heaps(Snapshot& out) {
  const FileHeapSum sum = file_heap_sum();
  out.file_heaps = sum.heaps;
  out.file_heap_bytes = sum.used_bytes;
  out.file_heap_mapped_bytes = sum.mapped_bytes;
  out.file_heap_backed_bytes = sum.backed_bytes;
  out.metadata_bytes += sum.record_bytes;
  // The file, what its last huge block has beyond it, and the records.
  out.mappings += 3 * sum.heaps;
}

}  // namespace

void walk_heap(HeapWalk& out) {
  slab_collect(out.slabs);
  MagazineClassStatistics magazines[kMaxClasses];
  collect_magazines(magazines);
  SlabClassStatistics sampled[kMaxClasses] = {};
  profile_collect(sampled);
  for (uint32_t id = 1; id < class_table->count; ++id) {
    const uint64_t outside = out.slabs[id].slots - out.slabs[id].free_slots;
    const uint64_t cached = magazines[id].magazine_objects + magazines[id].depot_objects;
    // The layers are read one after the other: a batch on its way between them may be seen twice.
    out.live[id] = outside > cached ? outside - cached : 0;
    // Sampled objects lie in no slab; the rest of their runs counts as free in slabs.
    out.live[id] += sampled[id].slots - sampled[id].free_slots;
    out.counted[id] = count_live(magazines[id]);
  }
  huge_collect(out.huge);
  out.heap_resident_bytes = page_resident_bytes();
  out.table_bytes = page_table_bytes() + slab_table_bytes() + magazine_table_bytes() + worker_table_bytes();
}

void collect(Snapshot& out) {
  HeapWalk walk;
  if (serving() == Serving::heap) walk_heap(walk);
  collect(walk, out);
}

void collect(const HeapWalk& walk, Snapshot& out) {
  out = {};
  out.resident_bytes = os::process_resident_bytes();
  if (serving() != Serving::heap) {
    strcpy(out.mode, "passthrough");
    return;
  }
  strcpy(out.mode, magazine_mode() == MagazineMode::rseq ? "rseq" : "locked");
  strcpy(out.fit, fit_name());
  collect_classes(walk, out);
  collect_pages(walk, out);
  collect_file_heaps(out);
  collect_profile(out);
  out.heap_resident_bytes = walk.heap_resident_bytes;
  const uint64_t ours = out.heap_resident_bytes + out.metadata_bytes;
  out.other_bytes = out.resident_bytes > ours ? out.resident_bytes - ours : 0;
  out.live_bytes = out.live_small_bytes + out.live_large_bytes;
  out.live_objects += out.large_objects;
  out.allocations += out.large_allocations;
  out.frees += out.large_frees;
  const MagazineCounters magazine = magazine_counters();
  out.refills = magazine.refills;
  out.flushes = magazine.flushes;
  out.depot_hits = magazine.depot_hits;
  out.slab_refills = magazine.slab_refills;
  out.magazine_grows = magazine.grows;
  out.magazine_shrinks = magazine.shrinks;
  out.cpu_drains = magazine.drains;
  out.remote_refills = magazine.remote_refills;
  out.remote_frees = magazine.remote_frees;
  const SlabCounters slab = slab_counters();
  out.slabs_created = slab.created;
  out.slabs_released = slab.released;
  out.slab_decommitted_bytes = slab.decommitted_bytes;
  const HeapCounters heap = heap_counters();
  out.foreign_frees = heap.foreign_frees;
  out.misuses = heap.misuses;
  out.fork_children = fork_children.load(std::memory_order_relaxed);
  collect_pressure(out);
}

void after_fork_child() {
  if (serving() != Serving::heap) return;
  page_after_fork_child(!fork_took_locks());
  slab_after_fork();
  profile_after_fork_child(!fork_took_locks());
  magazine_after_fork_child(!fork_took_locks());
  options_after_fork_child(!fork_took_locks());
  worker_after_fork_child();
  notify_after_fork_child();
  fork_children.fetch_add(1, std::memory_order_relaxed);
  record_event(EventKind::fork, exposed_bytes());
}

}  // namespace pm
