// Double frees that no check saw at once: objects that the slabs refuse because their slot is free already, or that lie
// in a magazine twice. They wait here until the heap, which knows how to report them, asks. Thread-safe; lock-free.
#pragma once

#include <cstddef>

#include "slab/slab.h"

namespace pm {

// slab_deallocate, with what it refuses kept for take_rejected.
void give_to_slabs(ClassId id, void** objects, size_t count);

// For an object that was found twice.
void keep_rejected(void* object);

// Moves up to `size` of them to `out`; returns how many. A few dozen are kept; more are dropped.
size_t take_rejected(void** out, size_t size);

}  // namespace pm
