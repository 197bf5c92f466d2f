// The depot: spare batches between the magazines and the slabs.
//
// A batch of objects that one CPU's magazine flushed is kept whole, so that another CPU's refill takes it with one
// compare-and-swap in place of setting and clearing bits slot by slot. A stack per class and memory node; how much all
// of them hold is bounded by bytes. Lock-free; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "slab/size_class.h"

namespace pm {

inline constexpr size_t kMaxBatch = 64;

// False if the address space for the batches is refused. `limit_bytes` bounds what the depot holds.
bool depot_init(uint64_t limit_bytes);
// Another bound from now on. The records of batches were laid out for the first one: a much larger bound is met only by
// batches of larger objects.
void depot_resize(uint64_t limit_bytes);

// Keeps the batch (at most kMaxBatch objects) for the node it lies on; false if the depot is full: the caller keeps the
// objects.
bool depot_put(unsigned node, ClassId id, void* const* objects, size_t count);
// A batch of the node's into out[0..kMaxBatch); returns the number of objects, 0 if there is none.
size_t depot_take(unsigned node, ClassId id, void** out);

uint64_t depot_bytes();
// Objects of one class; a hint.
uint64_t depot_objects(ClassId id);
size_t depot_table_bytes();

}  // namespace pm
