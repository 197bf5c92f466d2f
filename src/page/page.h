// The page layer: granules for slabs and extents for large objects, out of one region.
//
// Granules are divided between a few shards, each with its lock, free extents and slab blocks; a thread starts at its
// home shard and goes on to the next when that is contended, so that large allocations of many threads do not queue. A
// huge block belongs to one shard for ever; whoever frees takes the lock of the owner.
//
// Slabs are packed into huge blocks, the fullest first, so that sparse blocks drain and whole ones come free; a block
// without slabs turns into a free extent again.
//
// Whoever frees never waits for a shard's lock (what is put off is released by whoever comes by next), whoever
// allocates only if all are busy, or to hand in what it grew or decommitted.
//
// No lock is held across a system call: growing claims its range first, decommitting takes the extents out of the trees
// first (state busy) and gives them back after.
#pragma once

#include <cstddef>
#include <cstdint>

#include "page/extents.h"
#include "page/huge_advice.h"
#include "page/nodes.h"
#include "page/region.h"

namespace pm {

struct PageOptions {
  uint64_t reserve_bytes;  // window of the region; 0 chooses
  uint64_t dirty_bytes;    // free resident bytes kept for reuse
  HugeMode huge;
  Fit fit = Fit::best;
};

// False if the system refuses even a small region. nodes_init is called apart: a wrong node stops nothing.
bool page_init(const PageOptions& options);

// With several nodes: on the thread's own or not at all, or on another if its own has no more.
enum class Placement : uint8_t { local, anywhere };

// A run of `granules` (a power of two, at most a huge block) aligned to its length, or kNoGranule. `clean` as in
// Extents.
GranuleIndex allocate_slab_run(uint32_t granules, bool* clean, Placement placement = Placement::anywhere);
void release_slab_run(GranuleIndex first, uint32_t granules);

// A large object: its bytes rounded up to pages, aligned to `alignment` (a power of two up to kMaxAlignment, at least a
// granule). nullptr if memory is refused. With `zero` it reads as zero.
void* allocate_large(size_t bytes, size_t alignment, bool zero);

enum class FreeLarge : uint8_t {
  done,
  freed_already,  // free memory
  slab_gone,      // free memory that slabs were in
  inside,         // an address inside a live large object
  not_large,      // nothing large there
};
// Frees the large object at `p`, which lies in the region, in a granule of no class. `start` gets the object's address
// for FreeLarge::inside.
FreeLarge free_large(void* p, void** start);
// What is at `p`, without freeing it.
FreeLarge find_large(const void* p, void** start);
// Bytes its owner may use; p is a live large object.
size_t large_size(const void* p);
// Grows or shrinks in place; false if it cannot (grow: no room behind).
bool resize_large(void* p, size_t bytes);
// A larger object with the same content at another place, by moving its pages or by copying, whichever is cheaper;
// nullptr if the object is too small to be looked at so closely, or without memory. The old object is freed.
void* move_large(void* p, size_t bytes);

// Objects that move_large moved so far.
uint64_t large_moves();

// Pages inside a slab run in use are about to be decommitted by its owner: what that means for huge pages. False if
// they must stay.
bool prepare_inner_decommit(GranuleIndex first, uint32_t granules);

// Decommits free pages until `goal` bytes are given back; returns the bytes. Of blocks: free extents of a huge block or
// more alone, so that no huge page is split. Even dense: what breaks the huge page of a dense block too, as with a goal
// that takes in all there is.
enum class TrimScope : uint8_t { blocks, everything, even_dense };
size_t page_trim(size_t goal, TrimScope scope = TrimScope::everything);

// Somebody weighs what free memory is worth (the worker) and has found so many bytes of it worth keeping: growth gives
// nothing of that back. 0: nobody does.
void page_keep(uint64_t bytes);

// Whether some thread has free memory out of the shards' structures, to decommit it.
bool page_in_hand();

// Free memory that may be resident, by what giving it back costs. Takes the locks one by one.
struct DirtyFigures {
  uint64_t block_bytes;  // in free extents of a huge block or more
  uint64_t run_bytes;    // in shorter ones, and between slabs
};
DirtyFigures page_dirty();

// What it costs to touch a decommitted huge block again, by doing so to the first pages of a free, clean one and giving
// them back: nanoseconds, or 0 if there is none. Whatever pages the kernel gives there.
uint64_t page_measure_refault();

// Touches free clean huge blocks until `goal` bytes are resident, so that whoever takes them next need not fault.
// Returns the bytes. They are dirty then.
size_t page_prefault(size_t goal);

// Bytes that may lie free and resident before growth decommits. At any time.
void set_dirty_limit(uint64_t bytes);

struct PageStatistics {
  uint64_t committed_bytes, reserved_bytes, dirty_bytes, clean_bytes;
  uint64_t large_objects, large_bytes, large_tail_bytes, large_allocations, large_frees;
  uint64_t slab_run_bytes, free_in_blocks_bytes;
  uint64_t extent_hits, extent_splits, extent_coalesces, extent_coalescable, extent_coalesced;
  uint64_t largest_free_bytes, free_extent_bytes, fragmentation_permille;
  uint64_t grows, refusals, decommit_calls, decommitted_bytes, released_growth_bytes, huge_advised_bytes, moves,
      mappings;
  uint64_t mapping_refusals, collapses, collapse_failures, hugetlb_bytes, hugetlb_fallbacks;
  uint64_t nodes, node_fallbacks, bound_bytes, bind_failures;
};
void page_collect(PageStatistics& out);
// The part of it that lies on one node.
struct NodeStatistics {
  uint64_t mapped_bytes, slab_bytes, large_bytes, dirty_bytes, clean_bytes;
};
NodeStatistics page_collect_node(unsigned node);
// What of the heap is resident, by the kernel: some 0.25 ms for a gibibyte.
uint64_t page_resident_bytes();
// Of the region's tables, resident: 0.1 ms, as most of what they could grow to is not there.
uint64_t page_table_bytes();
// Debug: every structure of every shard. Takes the locks.
void page_audit();

void page_before_fork();
void page_after_fork_parent();
void page_after_fork_child(bool interrupted);

}  // namespace pm
