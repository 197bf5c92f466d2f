// Chunks on pages of hugetlbfs (POOLMALLOC_HUGE=hugetlb): 2 MiB each, and 1 GiB where a chunk holds whole ones and the
// administrator has reserved some. The pool may run dry at any time, so a page is either there when its chunk is
// mapped, or the chunk gets ordinary pages, with a count, and one line for the user.
//
// Such memory is given back to the pool by whole pages only, and for good: ordinary pages take its place, for a page
// that were fetched anew at the next touch could be missing then, which is a SIGBUS.
//
// Thread-safe; the counters are relaxed.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/compiler.h"
#include "page/granule.h"

namespace pm {

class Hugetlb {
 public:
  void enable() { enabled_ = true; }
  bool enabled() const { return enabled_; }

  // Maps a chunk whose address range is reserved, and whose blocks nobody knows yet. False if it gets ordinary pages,
  // from the caller.
  bool map(GranuleIndex first, uint32_t granules);

  // Cuts a run, whose ends may fall inside pages, down to what can be given back at all.
  static void clip(GranuleIndex& first, uint32_t& granules);
  // Gives back what clip() left; ordinary memory in between is decommitted. Returns whether all went well.
  bool decommit(GranuleIndex first, uint32_t granules);

  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t fallbacks() const { return fallbacks_.load(std::memory_order_relaxed); }

 private:
  bool map_blocks(uint32_t block, uint32_t count, uint8_t kind);
  bool finish(uint32_t block, uint32_t count);
  bool replace(uint32_t block, uint32_t count);
  void forget(uint32_t block, uint32_t count);
  void note_fallback(size_t bytes);

  bool enabled_ = false;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> fallbacks_{0};
};

extern PM_SHARED Hugetlb hugetlb_pages;

// Whether any block that the run touches lies on pages of hugetlbfs.
bool touches_hugetlb(GranuleIndex first, uint32_t granules);

}  // namespace pm
