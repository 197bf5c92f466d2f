// The heap: what malloc and free are made of.
//
//   allocate(size):   size class by table -> pop this CPU's magazine            (hot)
//                     empty: refill from depot or slabs                         (cold)
//                     above the last class: a large object                      (cold)
//   deallocate(p):    page map -> class; checks; push to this CPU's magazine    (hot)
//                     full: flush; large, foreign, misuse                       (cold)
//
// The hot functions are inlined into the entry points of the malloc ABI. Until the heap is ready `small_limit` and the
// region's limit are 0, so every call takes the cold path, which starts the heap: no other test is needed.
//
// Thread-safe throughout. Failure is nullptr; the callers set errno.
#pragma once

#include <cstddef>
#include <cstdint>

#include "magazine/magazine.h"
#include "page/region.h"
#include "slab/size_class.h"

namespace pm {

struct HeapView {
  size_t small_limit;  // sizes below it have a class; 0 until the heap is ready
  bool checked;        // POOLMALLOC_CHECK=default
};
extern PM_SHARED HeapView heap_view;

// `caller` is an address in the code that called malloc or free, for the one line that reports a misuse.
PM_COLD void* allocate_cold(size_t size);
// `size` is what was asked for: the first argument, since it lies in that register anyway.
PM_COLD void* allocate_after_miss(size_t size, ClassId id);
// The allocation that popped this object is to be sampled: another object, which the profile knows, or this one.
PM_COLD void* allocate_sampled(size_t size, ClassId id, Popped popped);
PM_COLD void deallocate_cold(void* p, const void* caller);
PM_COLD void deallocate_sized_cold(void* p, size_t size, const void* caller);

// The hot paths below, as calls.
void* allocate(size_t size);
void deallocate(void* p, const void* caller);

// Reallocation, alignment and queries are cold throughout: they copy, or look at records.
void* reallocate(void* p, size_t size, const void* caller);
void* allocate_aligned(size_t alignment, size_t size);  // alignment: a power of two
void* allocate_zeroed(size_t size);
size_t usable_size(const void* p, const void* caller);

PM_HOT void* allocate_inline(size_t size) {
  if (PM_LIKELY(size < heap_view.small_limit)) {
    const ClassId id = class_of(size);
    Popped popped;
    const Pop pop = magazine_pop(id, popped);
    if (PM_LIKELY(pop == Pop::done)) return popped.object;
    if (PM_UNLIKELY(pop == Pop::sampled)) return allocate_sampled(size, id, popped);
    return allocate_after_miss(size, id);
  }
  return allocate_cold(size);
}

// A plain load, which folds into the comparison; ThreadSanitizer is shown what is meant (the limit only grows).
PM_HOT size_t mapped_limit() { return PM_SANITIZED ? region.view_limit() : region_view.limit; }

// False if the cold function has to take over.
PM_HOT bool deallocate_fast(void* p) {
  const size_t offset = address_of(p) - region_view.base;
  if (PM_UNLIKELY(offset >= mapped_limit())) return false;
  const ClassId id = __atomic_load_n(&region_view.page_map[offset >> kGranuleShift], __ATOMIC_RELAXED);
  return magazine_push(id, p) == Push::done;
}

// With the size that the caller believes the object has. A larger class than the object's is a misuse; a smaller one is
// what aligned or shrunk objects look like.
PM_HOT bool deallocate_sized_fast(void* p, size_t size) {
  const size_t offset = address_of(p) - region_view.base;
  if (PM_UNLIKELY(offset >= mapped_limit() || size >= heap_view.small_limit)) return false;
  const ClassId id = __atomic_load_n(&region_view.page_map[offset >> kGranuleShift], __ATOMIC_RELAXED);
  if (PM_UNLIKELY(heap_view.checked && class_of(size) > id)) return false;
  return deallocate_fast(p);
}

// Brings all layers up, once; provided by the runtime. False if the heap is not to be used: the C library serves then.
bool start_heap();

// The page layer's mark was passed (page/exposure.h): does what is to be done about it. False: a limit forbids that a
// request of `bytes` made the exposure more than `before`; what it took must be given back. Provided by the runtime.
PM_COLD bool admit_exposure(size_t bytes, uint64_t before);

// Gives everything that is free back to the system; returns the bytes. For the allocation that would fail otherwise,
// and for malloc_trim.
size_t trim_heap(size_t goal);
// Its first part: moves what lies in magazines, depot and empty slabs to the page layer.
void empty_caches();

// Empties the magazines once more, so that a double free that no check saw at once is reported at the latest now.
void check_at_exit();

struct HeapCounters {
  uint64_t foreign_frees, misuses;
};
HeapCounters heap_counters();

}  // namespace pm
