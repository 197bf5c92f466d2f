// Objects that the slabs refuse because their slot is free already: double frees that no check saw at once. They wait
// here until the heap, which knows how to report them, asks. Thread-safe; lock-free.
#pragma once

#include <cstddef>

#include "slab/slab.h"

namespace pm {

// slab_deallocate, with what it refuses kept for take_rejected.
void give_to_slabs(ClassId id, void** objects, size_t count);

// Moves up to `size` of them to `out`; returns how many. A few dozen are kept; more are dropped.
size_t take_rejected(void** out, size_t size);

}  // namespace pm
