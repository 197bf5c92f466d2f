// Small objects of one file heap: slabs of the usual size classes, with their records outside the file.
//
// A slab is a run of granules whose first granule is in state `file_slab`. Slabs with a free slot stand in a list of
// their class; one that holds nothing leaves its list at once and goes back to the extents. The page map knows nothing
// of them, so that free() takes the cold path and no such object ever enters a magazine.
//
// Not synchronised: the heap's lock is held.
#pragma once

#include <cstdint>

#include "page/extents.h"
#include "slab/size_class.h"

namespace pm {

struct FileSlab {
  uint32_t next;  // in the list of its class: granule of the heap plus one, 0 for none
  uint32_t previous;
  uint16_t used;
  uint16_t hint;  // no word of `free` before this one has a bit set
  ClassId id;
  uint64_t free[kMaxSlots / 64];  // bit: the slot is free
};

class FileSlabs {
 public:
  // Records for a heap of `granules` from `first` on; false if their address space is refused.
  bool init(GranuleIndex first, uint32_t granules);
  void close() { records_.release(); }

  // A slot of the class, or nullptr if no slab has one.
  void* take(ClassId id);
  // Makes a run that was allocated for the class (aligned to its length) a slab.
  void add(GranuleIndex run, ClassId id);
  // Where `p` points to in the slab at `run`.
  struct Slot {
    uint32_t index;
    bool exact;  // p is where an object starts, or would
    bool is_free;
    void* object;  // start of the object that p points into; nullptr behind the last
  };
  Slot find(GranuleIndex run, const void* p) const;
  // Takes a slot back. True if the slab holds nothing now: it has left its list, and its run is to be released.
  bool give(GranuleIndex run, uint32_t slot);

  ClassId class_of_slab(GranuleIndex run) const { return records_[run - first_].id; }
  uintptr_t records_start() const { return records_.start(); }
  size_t records_bytes() const { return records_.reserved_bytes(); }
  void audit() const;

 private:
  FileSlab& record(GranuleIndex run) const { return records_[run - first_]; }
  void link(uint32_t node);
  void unlink(uint32_t node);

  GranuleIndex first_ = 0;
  Table<FileSlab> records_;
  uint32_t partial_[kMaxClasses] = {};
};

}  // namespace pm
