// Size classes: which sizes objects have, and the shape of the slab each lives in.
//
// Sizes grow in steps of 16 bytes up to 128 and then in eight steps a doubling up to 128 KiB, so that slack is at most
// 12.5 % of the object. Class 0 is no class: the page map's value for granules that hold no slab. A user may add
// classes (POOLMALLOC_SIZE_CLASSES); then the tables are rebuilt once at start. Everything here is constant afterwards,
// so it needs no synchronisation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bits.h"
#include "base/compiler.h"
#include "page/granule.h"

namespace pm {

using ClassId = uint8_t;
inline constexpr ClassId kNoClass = 0;

inline constexpr size_t kSizeStep = 16;
inline constexpr size_t kMaxClassSize = 128 * kKiB;
inline constexpr unsigned kMaxSlabGranules = 16;
inline constexpr unsigned kMaxClasses = 128;
inline constexpr unsigned kMaxSlots = kGranuleBytes / kSizeStep;

struct SizeClass {
  uint32_t size;           // bytes of an object
  uint32_t slab_granules;  // granules of a slab; a power of two, and slabs are aligned to it
  uint32_t slots;          // objects in a slab
  uint64_t slot_magic;     // ceil(2^32 / (size / 16)): slot = (offset / 16) * slot_magic >> 32
  uint32_t batch;          // objects that move at once between magazine and slab
  uint32_t magazine_max;   // most objects one CPU may hold
};

struct ClassTable {
  // The class of a request of n bytes is by_size[(n + 15) / 16].
  uint8_t by_size[kMaxClassSize / kSizeStep + 1];
  // Lemire's test ("Faster remainder by direct computation", 2019): an offset inside a one-granule slab is a multiple
  // of the size iff uint32_t(offset * divisor) < divisor, with divisor = ceil(2^32 / size). Zero for classes whose
  // slabs are longer, so that the test fails and the cold path decides.
  uint32_t divisor[kMaxClasses];
  SizeClass classes[kMaxClasses];
  uint32_t count;  // classes, class 0 included
};

extern PM_SHARED const ClassTable kDefaultClasses;
// The table in force: kDefaultClasses, or the one built by add_size_classes.
extern PM_SHARED const ClassTable* class_table;

// Adds classes of the given sizes (each rounded up to 16; those out of range or already there are skipped). Called
// once, at start, before the first allocation. `storage` must live for ever.
void add_size_classes(const uint32_t* sizes, size_t count, ClassTable& storage);

inline ClassId class_of(size_t size) { return class_table->by_size[(size + kSizeStep - 1) / kSizeStep]; }
inline const SizeClass& size_class(ClassId id) { return class_table->classes[id]; }

// The smallest class whose objects are all aligned to `alignment` (a power of two) and hold `size` bytes; kNoClass if
// there is none.
ClassId aligned_class_of(size_t size, size_t alignment);

// What an object of the size, a multiple of 16, would take of a slab made for it: its share of the rest behind the last
// slot included, rounded up.
uint32_t slab_room(uint32_t size);

// The slot that `offset` bytes into a slab belong to.
inline uint32_t slot_of(const SizeClass& c, uint32_t offset) {
  return static_cast<uint32_t>(((uint64_t{offset} / kSizeStep) * c.slot_magic) >> 32);
}

}  // namespace pm
