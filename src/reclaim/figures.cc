#include "reclaim/figures.h"

#include "page/exposure.h"
#include "slab/slab.h"

namespace pm {

void SlabFree::update(uint64_t free_bytes, uint64_t hollowed_bytes) {
  if (hollowed_bytes > hollowed_) hollow_ += hollowed_bytes - hollowed_;
  hollowed_ = hollowed_bytes;
  free_ = free_bytes;
  if (hollow_ > free_) hollow_ = free_;
  const uint64_t solid = free_ - hollow_;
  if (solid < least_) least_ = solid;
  sparse_ = solid - least_;
}

void Figures::gather() {
  const PageFigures pages = page_figures();
  magazine_collect(rows_);
  exposed_ = pages.exposed_bytes;
  live_[0] = pages.large_bytes;
  uint64_t allocated = pages.large_bytes + pages.large_released_bytes;
  uint64_t freed = pages.large_released_bytes;
  uint64_t cached = 0;
  uint64_t live_small = 0;
  for (unsigned id = 1; id < class_table->count; ++id) {
    const MagazineClassStatistics& row = rows_[id];
    const uint64_t size = size_class(static_cast<ClassId>(id)).size;
    const uint64_t out = row.pops + row.misses;
    const uint64_t back = row.pushes + row.overflows;
    allocated += out * size;
    freed += back * size;
    cached += (row.magazine_objects + row.depot_objects) * size;
    // The counters are read one after the other: what is freed meanwhile may be seen and its allocation not.
    live_[id] = out > back ? (out - back) * size : 0;
    live_small += live_[id];
  }
  const uint64_t outside = live_small + cached;
  slab_free_.update(pages.slab_run_bytes > outside ? pages.slab_run_bytes - outside : 0,
                    slab_counters().decommitted_bytes);
  const uint64_t unused = pages.dirty_bytes + slab_free_.sparse_bytes() + slab_free_.hollow_bytes();
  heap_.used_bytes = pages.exposed_bytes > unused ? pages.exposed_bytes - unused : 0;
  heap_.dirty_bytes = pages.dirty_bytes;
  heap_.committed_bytes = pages.committed_bytes;
  heap_.cached_bytes = cached;
  heap_.allocated_bytes = allocated;
  heap_.freed_bytes = freed;
  heap_.decommitted_bytes = pages.decommitted_bytes;
  // Whatever became resident beyond the first time of every byte there is came back after a decommit. A lower bound:
  // some bytes have never been used.
  const uint64_t taken = pages.exposed_bytes + pages.decommitted_bytes;
  const uint64_t again = taken > pages.committed_bytes ? taken - pages.committed_bytes : 0;
  if (again > heap_.refaulted_bytes) heap_.refaulted_bytes = again;
}

}  // namespace pm
