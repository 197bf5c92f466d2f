// Putting dense, lasting memory on huge pages (MADV_COLLAPSE), and what is known of how much lies on them.
//
// A huge block is collapsed when
//   it is in use   it holds slabs and at most one of its granules is free, or it lies inside one large object;
//   it is dense    95 % of its pages are resident, by mincore: no more than a twentieth of it is memory that nobody
//                  touched. (That slots of its slabs are free says little: their pages stay resident either way.)
//   it lasts       nothing in it was given back for some seconds.
// A collapse takes 0.6 to 0.85 ms where there is nothing else to do. It waits for a kernel thread on each CPU, and
// meanwhile nobody in the process can map anything: on a busy machine that was 24 ms in the middle and 5 s at worst,
// and tens where the host has to find the memory. So it is no work for a thread of the program; it is done a few blocks
// at a time, outside of all locks, the clock is looked at after each, and after a slow one there is none for a while.
//
// Thread-safe: a collapse changes no content, so the worst that a race can do is to bring back memory that was just
// decommitted, which the shard is told of.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm {

struct CollapseBudget {
  uint32_t blocks;       // to collapse, at most
  uint64_t nanoseconds;  // after which no further one is begun
  // The caller says that the heap is as it will stay: neither age nor the size of the heap is asked about.
  bool at_once;
};
// Goes on where it was left by the last call, and once round the heap at most. Returns the bytes that now lie on huge
// pages and did not before.
size_t page_collapse(const CollapseBudget& budget);

// A bound on the memory in use that page_collapse may find something to do in; 0 if huge pages are not to be had, a
// round of the heap has just found nothing, or a collapse was slow.
uint64_t collapsible_bytes();

struct CollapseCounters {
  uint64_t done, failed;
};
CollapseCounters collapse_counters();

struct HugeStatistics {
  uint64_t eligible_bytes;  // in huge blocks that hold slabs or lie inside large objects
  uint64_t huge_bytes;      // of those, on huge pages
  uint64_t waste_bytes;     // free granules inside huge pages that are in use
};
// Asks the kernel where it can (os::find_huge_pages), else tells what is known of collapses. Walks the whole heap: for
// reports. Takes the shards' locks one by one.
void huge_collect(HugeStatistics& out);

}  // namespace pm
