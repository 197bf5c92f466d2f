// The region: the one window of address space that every object lives in, and the tables that describe it.
//
// The window is address space by convention: it starts at a random gibibyte in a part of the address space where the
// kernel places nothing by itself, and memory is mapped into it chunk by chunk, upward, as the heap grows. So "is it
// ours" is one subtract and compare, the heap's address space stays as small as its use, RLIMIT_AS is charged only for
// what is mapped, and neighbouring chunks merge into one kernel mapping. A foreign mapping that happens to lie in the
// window is stepped over: its granules keep class 0 and state `none`.
//
// Where the heap tells several memory nodes apart (page/nodes.h), what is left of the window is divided: half of it
// into a range for each node, so that the address tells the node and chunks of a node lie side by side, and half for
// whoever has used up its own. Memory claimed before belongs to node 0.
//
// Tables, all indexed by granule (or huge block):
//   page map  one byte: the size class of the slab that covers the granule, or 0. Written by whoever owns the granules,
//             read by every free; a pointer that its thread legally holds names a granule whose byte was published
//             before the object was handed out.
//   extents   ExtentRecord, of the shard that owns the huge block (page/extents.h)
//   blocks    BlockRecord, likewise
// The slab layer keeps its records in a table of its own, indexed the same way.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/lock.h"
#include "page/granule.h"
#include "page/shard_id.h"
#include "page/table.h"

namespace pm {

enum class ExtentState : uint8_t {
  none,       // not the first granule of anything
  free,       // in its shard's trees
  busy,       // taken out of the trees by one thread (being decommitted)
  large,      // a large object
  slabs,      // a huge block that holds slabs
  file_slab,  // a slab of a file heap
};

// What the heap profile knows of a granule (profile/profile.h).
enum class Sampled : uint8_t {
  no,
  object,  // the large object that begins here is sampled
  slots,   // small sampled objects
};

struct ExtentRecord {
  // Of the first granule; all guarded by the owning shard's lock but where noted.
  uint32_t granules;
  uint32_t left;  // tree links: granule index plus one, 0 for none
  uint32_t right;
  uint32_t dirty;  // granules that may be resident: of a free extent now, of a large object when it was handed out
  // Of the last granule of a free extent: its first granule. Read by a neighbour that wants to coalesce.
  // Of a run whose release was put off (Shard::deferred): the link of that list. Relaxed; the stack orders it.
  std::atomic<uint32_t> head;
  // Written under the shard's lock with release; free and realloc read it without (acquire) to tell a large object.
  std::atomic<ExtentState> state;
  bool vacated;   // its pages went by mremap: none is resident any more
  uint8_t order;  // of a tree node: the largest natural run in it and below (page/extent_tree.h)
  // Of every granule; written by its owner with release, read by whoever frees an address in it (acquire).
  std::atomic<Sampled> sampled;
  union {
    uint64_t bytes;  // of a large object: what its owner may use; constant while it lives but for realloc by its owner
    uint32_t longest;  // of a tree node: the longest extent in it and below
  };
};
static_assert(sizeof(ExtentRecord) == 32);

struct BlockRecord {
  uint32_t used;  // of a block that holds slabs: granules that belong to a slab
  // Granules that may be resident, whoever owns them; exact only for free ones. Written under the shard's lock; the
  // owner of a granule reads its bit without.
  std::atomic<uint32_t> dirty;
  uint32_t next;  // list of blocks with equally many used granules: index plus one
  uint32_t previous;
  // Owning shard plus one, 0 until the block is mapped; constant afterwards. The release store in grow() publishes that
  // the extent records of the block may be touched.
  std::atomic<uint8_t> owner;
  // See huge_blocks.h.
  std::atomic<uint8_t> huge;
  std::atomic<uint16_t> settled;
};

// What the hot path reads. `limit` is 0 until the heap is ready, so that every pointer is foreign before.
struct RegionView {
  uintptr_t base;
  size_t limit;  // bytes above base that are mapped; grows only (relaxed: a holder of an object saw it grow)
  uint8_t* page_map;
};
extern PM_SHARED RegionView region_view;

class Region {
 public:
  // Reserves the tables. `wanted_bytes` is the size of the window, 0 to choose. False if even a small one is refused.
  bool init(uint64_t wanted_bytes);

  // Maps at least `granules` (a multiple of a huge block is taken) for `shard`, on its node: returns the first granule
  // and the number mapped, or 0 granules if memory or the window is used up. No lock is held across the system calls.
  struct Chunk {
    GranuleIndex first;
    uint32_t granules;
  };
  Chunk grow(uint32_t granules, uint8_t shard);

  // Claims `granules` (rounded up to huge blocks) of the window for memory from elsewhere: the range is reserved, for
  // its owner to map something over, and has fresh records. 0 granules if the window or address space is used up.
  Chunk adopt(uint32_t granules, uint8_t owner);
  // Unmaps an adopted range and gives the claim back. Until it serves again, its owner is kAbandonedOwner.
  void abandon(const Chunk& chunk);

  // Divides the rest of the window between `nodes` nodes and publishes their number as node_count(). False, and nothing
  // changed, if too little is left. Once.
  bool divide(unsigned nodes);

  // The node that a granule of ours belongs to.
  unsigned node_of(GranuleIndex g) const {
    // Acquire pairs with the release in divide().
    const uint32_t length = range_granules_.load(std::memory_order_acquire);
    if (length == 0 || g < divided_from_ + length) return 0;
    const uint32_t node = (g - divided_from_) / length;
    if (node < node_ranges_) return node;
    return node_of_shard(block(g).owner.load(std::memory_order_acquire) - 1U);
  }

  // Calls use(first, end) for the parts of the window that chunks were claimed in.
  template <typename Use>
  void each_used(Use use) const {
    // Relaxed: a walk sees the chunks whose objects its thread knows of.
    for (const Range& range : ranges_) {
      const GranuleIndex first = range.first.load(std::memory_order_relaxed);
      const GranuleIndex top = range.top.load(std::memory_order_relaxed);
      if (top > first) use(first, top);
    }
  }
  // The first granule from `g` on that each_used would name, or the end.
  GranuleIndex next_used(GranuleIndex g) const {
    GranuleIndex found = end_granule();
    each_used([&](GranuleIndex first, GranuleIndex top) {
      const GranuleIndex start = g > first ? g : first;
      if (start < top && start < found) found = start;
    });
    return found;
  }

  ExtentRecord& extent(GranuleIndex g) const { return extents_[g]; }
  BlockRecord& block(GranuleIndex g) const { return blocks_[g / kBlockGranules]; }
  BlockRecord& block_at(uint32_t b) const { return blocks_[b]; }
  bool is_owned_by(GranuleIndex g, uint8_t shard) const {
    return g < window_ && block(g).owner.load(std::memory_order_acquire) == shard + 1;
  }
  void* address(GranuleIndex g) const {
    return reinterpret_cast<void*>(region_view.base + (size_t{g} << kGranuleShift));
  }
  GranuleIndex granule_of(const void* p) const {
    return static_cast<GranuleIndex>((address_of(p) - region_view.base) >> kGranuleShift);
  }
  bool contains(const void* p) const { return address_of(p) - region_view.base < view_limit(); }
  size_t view_limit() const { return __atomic_load_n(&region_view.limit, __ATOMIC_RELAXED); }

  // The first granule ever handed out, and one past the last; between them are holes where the window is divided.
  GranuleIndex first_granule() const { return first_; }
  GranuleIndex end_granule() const { return static_cast<GranuleIndex>(view_limit() >> kGranuleShift); }
  uint32_t window_granules() const { return window_; }

  size_t committed_bytes() const { return committed_.load(std::memory_order_relaxed); }
  size_t table_bytes() const;  // resident bytes of the tables
  size_t reserved_bytes() const;
  uint64_t grows() const { return grows_.load(std::memory_order_relaxed); }
  uint64_t refusals() const { return refusals_.load(std::memory_order_relaxed); }

  // For tests that count chunks; otherwise the first growth finds out.
  void set_strict(bool strict) {
    strictness_.store(strict ? Strictness::strict : Strictness::lavish, std::memory_order_relaxed);
  }

  Lock& lock() { return lock_; }

 private:
  // A part of the window that is handed out from its start upward. Guarded by lock_; each_used looks without.
  struct Range {
    std::atomic<GranuleIndex> first{0};
    std::atomic<GranuleIndex> top{0};  // next granule never claimed
    GranuleIndex end = 0;
  };

  bool claim(uint32_t granules, unsigned node, bool generous, Chunk& chunk);
  bool claim_in(Range& range, uint32_t granules, Chunk& chunk);
  bool claim_shared(uint32_t granules, Chunk& chunk);
  Range& range_of(GranuleIndex g);
  void publish(const Chunk& chunk, uint8_t owner);
  void give_back(const Chunk& chunk);
  bool map(const Chunk& chunk, unsigned node);
  uint32_t chunk_granules(uint32_t wanted) const;
  bool is_strict() const;

  Lock lock_{LockRank::region};
  Table<ExtentRecord> extents_;
  Table<BlockRecord> blocks_;
  Table<uint8_t> page_map_;
  uint32_t window_ = 0;
  GranuleIndex first_ = 0;
  // One for each node, and what all share in the end. Until the window is divided, all of it is the first one's.
  static constexpr unsigned kShared = kMaxNodes;
  Range ranges_[kMaxNodes + 1];
  // Written once by divide().
  GranuleIndex divided_from_ = 0;
  uint32_t node_ranges_ = 0;
  std::atomic<uint32_t> range_granules_{0};  // 0 while the window is one
  // Claims that were given back while a later one stands: their mapping was refused, or they were abandoned. Neighbours
  // are merged; should there ever be more than the table holds, the shortest is forgotten. Guarded by lock_.
  static constexpr unsigned kMaxReturned = 32;
  Chunk returned_[kMaxReturned] = {};
  unsigned returned_count_ = 0;
  // Grow by what is asked for only: where the kernel charges for every committed byte, or address space is limited.
  // Found out by the first growth; every thread that asks finds the same.
  enum class Strictness : uint8_t { unknown, lavish, strict };
  mutable std::atomic<Strictness> strictness_{Strictness::unknown};
  std::atomic<size_t> committed_{0};
  std::atomic<uint64_t> grows_{0};
  std::atomic<uint64_t> refusals_{0};
};

extern PM_SHARED Region region;

}  // namespace pm
