// The slab layer: objects of the size classes, in batches.
//
// Every class has a stack of partial slabs. A refill pops one, becomes its holder, takes up to a batch of neighbouring
// slots for one locked instruction a 64-bit word, and pushes it back or leaves it full. A free sets bits; neighbours
// share one instruction. No lock but the page layer's, and that only when a slab is created or released.
//
// Thread-safe throughout. Objects of one batch are of one class.
#pragma once

#include <cstddef>
#include <cstdint>

#include "page/region.h"
#include "slab/size_class.h"

namespace pm {

// False if the address space for the records is refused. After page_init and add_size_classes.
bool slab_init();

// Up to `wanted` objects into `out`, the highest address first. Fewer, down to none, only when memory is refused.
size_t slab_allocate(ClassId id, void** out, size_t wanted);

// Takes objects back. Objects that were free in their slab already, or are no slot's address, are not: they are moved
// to the front of `objects`, and their number is returned.
size_t slab_deallocate(ClassId id, void** objects, size_t count);

// Releases empty slabs and orders the rest so that full ones are used first, for all classes. Returns bytes given to
// the page layer.
size_t slab_trim();
// What slab_trim would release at least, as far as frees have noticed; a hint.
uint64_t slab_empty_bytes();

// Decommits the pages of sparse slabs that hold free slots only, class by class until `goal` bytes are given to the
// system. Returns the bytes.
// Such pages fault in again one by one, so this is for when memory is short.
size_t slab_decommit(size_t goal = SIZE_MAX);

// Whether some thread has partial slabs off their stacks, to sort them or to decommit their pages.
bool slab_in_hand();

// Where an address lies. `p` must be in a granule of a class.
struct SlotPlace {
  ClassId id;
  void* object;  // start of the slot; nullptr behind the last slot
  bool exact;    // p is its start
  bool free;     // the slot is free in its slab
};
SlotPlace slab_find(const void* p);

inline ClassId class_at(const void* p) {
  return __atomic_load_n(&region_view.page_map[region.granule_of(p)], __ATOMIC_RELAXED);
}

struct SlabClassStatistics {
  uint64_t slabs;
  uint64_t slots;
  uint64_t free_slots;
};
// One row a class; sizes by the class table.
void slab_collect(SlabClassStatistics (&rows)[kMaxClasses]);
struct SlabCounters {
  uint64_t created, released, sweeps, decommitted_bytes;
};
SlabCounters slab_counters();
size_t slab_table_bytes();
// Debug: states and stacks. Only while no other thread uses the slabs.
void slab_audit();

void slab_before_fork();
void slab_after_fork();  // in parent and child

}  // namespace pm
