#include "heap/heap.h"

#include <cstring>

#include "heap/file_heap.h"
#include "heap/misuse.h"
#include "magazine/rejected.h"
#include "os/libc.h"
#include "os/process.h"
#include "page/exposure.h"
#include "page/page.h"
#include "profile/profile.h"
#include "slab/slab.h"

namespace pm {

HeapView heap_view = {0, false};

namespace {

// Whether the heap serves this process; starts it at the first call.
bool ready() { return PM_LIKELY(heap_view.small_limit != 0) || start_heap(); }

// What an allocation took into use, as far as it may be resident; made before it.
class Charge {
 public:
  // False if a limit forbids to keep it.
  bool is_admitted(size_t bytes) const { return PM_LIKELY(!is_over_mark()) || admit_exposure(bytes, before_); }

 private:
  const uint64_t before_ = exposed_bytes();
};

// For an allocation that was refused: gives back what is free and tries again. Memory that would do may be in the hands
// of a thread that decommits or sorts it and returns it soon, so while anybody has some the refusal is not final.
template <typename Attempt>
void* try_after_trim(Attempt attempt) {
  constexpr uint64_t kLongest = 500'000'000;  // nanoseconds
  const uint64_t start = os::monotonic_ns();
  for (;;) {
    const bool in_hand = !inside_lock() && (page_in_hand() || slab_in_hand());
    trim_heap(SIZE_MAX);
    void* const p = attempt();
    if (p != nullptr || !in_hand || os::monotonic_ns() - start > kLongest) return p;
    os::yield_thread();
  }
}

void* allocate_small(size_t size, ClassId id) {
  Popped popped;
  const Pop pop = magazine_pop(id, popped);
  if (PM_UNLIKELY(pop == Pop::sampled)) return allocate_sampled(size, id, popped);
  return pop == Pop::done ? popped.object : allocate_after_miss(size, id);
}

// An object for an allocation of `size` bytes that is to be sampled; nullptr if that cannot be.
void* take_sampled(size_t size, ClassId id) {
  const Charge charge;
  void* const p = profile_allocate(size, id);
  if (p == nullptr || PM_LIKELY(charge.is_admitted(size_class(id).size))) return p;
  profile_free(p);
  return nullptr;
}

// What no magazine serves draws for itself.
PM_COLD void* draw_sampled(size_t size, ClassId id) {
  const SamplingTable* const table = sampling_table();
  if (table == nullptr || !draw_object(*table, id)) return nullptr;
  void* const p = take_sampled(size, id);
  if (p != nullptr) count_direct_allocation(id);
  return p;
}

// Double frees that no check saw at once: the object lay deeper in the magazine, in another CPU's, or in the depot.
// They come out when it would be handed out a second time, or when the slab finds the slot free already.
void report_rejected() {
  void* rejected[4];
  const size_t n = take_rejected(rejected, 4);
  for (size_t i = 0; i < n; ++i) report_late_double_free(rejected[i], size_class(class_at(rejected[i])).size);
}

// Objects of the classes whose slabs are longer than a granule: where such an object starts, the magazine's own test
// cannot tell. False if something is wrong, or the magazine is full: then the slow path looks again.
bool deallocate_long(void* p) {
  const size_t offset = address_of(p) - region_view.base;
  if (offset >= mapped_limit()) return false;
  const ClassId id = __atomic_load_n(&region_view.page_map[offset >> kGranuleShift], __ATOMIC_RELAXED);
  const SizeClass& c = size_class(id);
  if (c.slab_granules < 2) return false;
  const auto in_slab = static_cast<uint32_t>(offset & (c.slab_granules * kGranuleBytes - 1));
  const uint32_t slot = slot_of(c, in_slab);
  return slot * c.size == in_slab && slot < c.slots && magazine_push_start(id, p) == Push::done;
}

void deallocate_small(void* p, ClassId id, const void* caller) {
  const SlotPlace place = slab_find(p);
  if (PM_UNLIKELY(!place.exact || place.object == nullptr)) {
    return report_inside(p, place.object, size_class(id).size, caller);
  }
  const bool known_free = heap_view.checked && place.free;
  if (PM_UNLIKELY(known_free || magazine_overflow(id, p) == Overflow::double_free)) {
    return report_double_free(p, size_class(id).size, caller);
  }
  report_rejected();
}

// What a destroyed file heap left behind, until something else comes to lie there.
bool is_abandoned(const void* p) {
  return region.block(region.granule_of(p)).owner.load(std::memory_order_acquire) == kAbandonedOwner + 1;
}

void* allocate_large_within_limits(size_t size, size_t alignment, bool zero) {
  const Charge charge;
  void* p = allocate_large(size, alignment, zero);
  if (PM_UNLIKELY(p == nullptr) && size <= size_t{region.window_granules()} << kGranuleShift) {
    p = try_after_trim([&] { return allocate_large(size, alignment, zero); });
  }
  if (p != nullptr && PM_UNLIKELY(!charge.is_admitted(size))) {
    void* start = nullptr;
    free_large(p, &start);
    page_trim(size);  // free is not enough: it must not stay exposed
    return nullptr;
  }
  if (PM_UNLIKELY(is_sampling()) && p != nullptr) profile_large(p, large_size(p));
  return p;
}

// An address in the slots of sampled objects.
void deallocate_sampled(void* p, const void* caller) {
  using What = SampledPlace::What;
  const SampledPlace place = profile_free(p);
  switch (place.what) {
    case What::object: return;
    case What::freed: return report_double_free(p, place.size, caller);
    case What::inside:
    case What::nothing: return report_inside(p, place.object, place.size, caller);
  }
}

size_t checked_sampled_size(const void* p, const char* call, const void* caller) {
  const SampledPlace place = profile_find(p);
  if (place.what == SampledPlace::What::object) return place.size;
  report_use_of_freed(call, p, place.size, caller);
  return 0;
}

void deallocate_large(void* p, const void* caller) {
  if (PM_UNLIKELY(profile_exists.load(std::memory_order_relaxed))) prefetch_sampled(p);
  if (PM_UNLIKELY(maybe_sampled(p))) {
    if (sampled_at(p) == Sampled::slots) return deallocate_sampled(p, caller);
    profile_forget(p);
  }
  if (FileHeap* const heap = FileHeap::of(p); PM_UNLIKELY(heap != nullptr)) return heap->deallocate(p, caller);
  if (PM_UNLIKELY(is_abandoned(p))) return report_file_memory("free", p, true, caller);
  void* start = nullptr;
  switch (free_large(p, &start)) {
    case FreeLarge::done: return;
    case FreeLarge::freed_already: return report_double_free(p, 0, caller);
    case FreeLarge::slab_gone: return report_released(p, caller);
    case FreeLarge::inside: return report_inside(p, start, 0, caller);
    case FreeLarge::not_large: break;
  }
  if (check_foreign(p, "free", caller) && os::libc_allocator().free != nullptr) os::libc_allocator().free(p);
}

// The slower half of checked_size: not an object of a small class, or one that was freed a moment ago.
PM_COLD size_t checked_size_slowly(const void* p, ClassId id, const char* call, const void* caller) {
  if (id == kNoClass) {
    if (is_in_slots(p)) return checked_sampled_size(p, call, caller);
    if (FileHeap* const heap = FileHeap::of(p); heap != nullptr) return heap->usable_size(p, call, caller);
    void* start = nullptr;
    if (is_abandoned(p)) {
      report_file_memory(call, p, true, caller);
    } else if (find_large(p, &start) == FreeLarge::done) {
      return large_size(p);
    } else {
      report_use_of_freed(call, p, 0, caller);
    }
    return 0;
  }
  const size_t size = size_class(id).size;
  const SlotPlace place = slab_find(p);
  if (place.exact && !place.free && !magazine_holds_on_top(id, p)) return size;
  report_use_of_freed(call, p, size, caller);
  return 0;
}

// The size of an object that realloc or malloc_usable_size was given: 0 and one line if it is no live object of ours.
// Some programs ask for the size of each object they have (redis), so this looks where free would look, and no further.
size_t checked_size(const void* p, const char* call, const void* caller) {
  const ClassId id = class_at(p);
  if (PM_UNLIKELY(id == kNoClass)) return checked_size_slowly(p, id, call, caller);
  const uint32_t divisor = class_table->divisor[id];
  const bool sound = static_cast<uint32_t>(address_of(p) & (kGranuleBytes - 1)) * divisor < divisor;
  if (heap_view.checked && PM_UNLIKELY(!sound || magazine_may_hold_on_top(id, p))) {
    return checked_size_slowly(p, id, call, caller);
  }
  return size_class(id).size;
}

void* reallocate_by_copy(void* p, size_t old_size, size_t size, const void* caller) {
  void* const moved = allocate(size);
  if (moved == nullptr) return nullptr;
  memcpy(moved, p, old_size < size ? old_size : size);
  deallocate(p, caller);
  return moved;
}

void* reallocate_small(void* p, size_t old_size, size_t size, const void* caller) {
  // Stays where it is unless it grew out of its class or would waste half of it.
  if (size <= old_size && size >= old_size / 2) return p;
  void* const moved = reallocate_by_copy(p, old_size, size, caller);
  // A shrink must not fail for want of memory.
  return moved == nullptr && size <= old_size ? p : moved;
}

// To the profile, an object of another size is another object.
void sample_anew(void* p) {
  if (maybe_sampled(p)) profile_forget(p);
  if (PM_UNLIKELY(is_sampling())) profile_large(p, large_size(p));
}

void* reallocate_large(void* p, size_t old_size, size_t size, const void* caller) {
  if (FileHeap* const heap = FileHeap::of(p); PM_UNLIKELY(heap != nullptr)) {
    long error = 0;
    return heap->reallocate(p, size, caller, error);
  }
  if (size > kMaxClassSize) {
    const Charge charge;
    if (resize_large(p, size)) {
      if (charge.is_admitted(size)) {
        sample_anew(p);
        return p;
      }
      resize_large(p, old_size);
      return nullptr;
    }
    // It is as good as freed: where it stays after all, for want of memory, it lives on without its sample.
    if (maybe_sampled(p)) profile_forget(p);
    void* const moved = move_large(p, size);
    if (moved != nullptr) {
      charge.is_admitted(size);  // its old place is free, and has made room already
      if (PM_UNLIKELY(is_sampling())) profile_large(moved, large_size(moved));
      return moved;
    }
  }
  void* const copied = reallocate_by_copy(p, old_size, size, caller);
  return copied == nullptr && size <= old_size ? p : copied;
}

// Memory that is not in our region: the C library's, or nonsense. It stays with the C library, whose free may well be
// what its owner calls in the end.
void* reallocate_foreign(void* p, size_t size, const void* caller) {
  if (heap_view.small_limit != 0 && !check_foreign(p, "realloc", caller)) return nullptr;
  const os::LibcAllocator& libc = os::libc_allocator();
  return libc.realloc != nullptr ? libc.realloc(p, size) : nullptr;
}

}  // namespace

void* allocate(size_t size) { return allocate_inline(size); }

void deallocate(void* p, const void* caller) {
  if (PM_UNLIKELY(!deallocate_fast(p))) deallocate_cold(p, caller);
}

void* allocate_sampled(size_t size, ClassId id, Popped popped) {
  magazine_was_sampled(id, popped);
  void* const p = take_sampled(size, id);
  if (p == nullptr) return popped.object;
  magazine_put_back(id, popped.object);
  return p;
}

void* allocate_after_miss(size_t size, ClassId id) {
  if (PM_UNLIKELY(is_sampling())) {
    void* const sampled = draw_sampled(size, id);
    if (sampled != nullptr) return sampled;
  }
  const Charge charge;
  void* p = magazine_refill(id);
  report_rejected();
  if (PM_UNLIKELY(p == nullptr)) {
    p = try_after_trim([id] { return magazine_refill(id); });
  }
  if (PM_UNLIKELY(!charge.is_admitted(size_class(id).size)) && p != nullptr) {
    deallocate(p, nullptr);
    return nullptr;
  }
  return p;
}

void* allocate_cold(size_t size) {
  if (!ready()) return os::libc_allocator().malloc != nullptr ? os::libc_allocator().malloc(size) : nullptr;
  if (size <= kMaxClassSize) return allocate_small(size, class_of(size));
  return allocate_aligned(kSizeStep, size);
}

void deallocate_cold(void* p, const void* caller) {
  if (p == nullptr || deallocate_long(p)) return;
  if (!region.contains(p)) {
    if (heap_view.small_limit == 0) {
      if (os::libc_allocator().free != nullptr) os::libc_allocator().free(p);
    } else if (check_foreign(p, "free", caller) && os::libc_allocator().free != nullptr) {
      os::libc_allocator().free(p);
    }
    return;
  }
  const ClassId id = class_at(p);
  if (id != kNoClass) return deallocate_small(p, id, caller);
  deallocate_large(p, caller);
}

void deallocate_sized_cold(void* p, size_t size, const void* caller) {
  if (p != nullptr && region.contains(p)) {
    const ClassId id = class_at(p);
    if (id != kNoClass && size > size_class(id).size) return report_sized(p, size, size_class(id).size, caller);
    if (id == kNoClass && is_in_slots(p)) {
      const SampledPlace place = profile_find(p);
      const bool sound = place.what != SampledPlace::What::object || size <= place.size;
      return sound ? deallocate_sampled(p, caller) : report_sized(p, size, place.size, caller);
    }
    if (FileHeap* const heap = id == kNoClass ? FileHeap::of(p) : nullptr; heap != nullptr) {
      size_t class_size = 0;
      const size_t usable = heap->find_size(p, class_size);
      if (usable != 0 && size > usable) return report_sized(p, size, class_size, caller);
      return heap->deallocate(p, caller);
    }
    void* start = nullptr;
    if (id == kNoClass && find_large(p, &start) == FreeLarge::done && size > large_size(p)) {
      return report_sized(p, size, 0, caller);
    }
  }
  deallocate_cold(p, caller);
}

void* reallocate(void* p, size_t size, const void* caller) {
  if (p == nullptr) return allocate(size);
  if (!region.contains(p)) return reallocate_foreign(p, size, caller);
  const size_t old_size = checked_size(p, "realloc", caller);
  if (old_size == 0) return nullptr;
  if (class_at(p) != kNoClass || is_in_slots(p)) return reallocate_small(p, old_size, size, caller);
  return reallocate_large(p, old_size, size, caller);
}

void* allocate_aligned(size_t alignment, size_t size) {
  if (!ready())
    return os::libc_allocator().memalign != nullptr ? os::libc_allocator().memalign(alignment, size) : nullptr;
  const ClassId id = aligned_class_of(size, alignment);
  // An alignment asks for the class as it is: no other size would do.
  if (id != kNoClass) return allocate_small(alignment > kSizeStep ? size_class(id).size : size, id);
  return allocate_large_within_limits(size, alignment, false);
}

void* allocate_zeroed(size_t size) {
  if (PM_LIKELY(size < heap_view.small_limit)) {
    void* const p = allocate(size);
    if (PM_LIKELY(p != nullptr)) memset(p, 0, size);
    return p;
  }
  if (!ready()) return os::libc_allocator().calloc != nullptr ? os::libc_allocator().calloc(1, size) : nullptr;
  if (size <= kMaxClassSize) return allocate_zeroed(size);
  return allocate_large_within_limits(size, kSizeStep, true);
}

size_t usable_size(const void* p, const void* caller) {
  if (p == nullptr) return 0;
  if (region.contains(p)) return checked_size(p, "malloc_usable_size", caller);
  const os::LibcAllocator& libc = os::libc_allocator();
  if (libc.malloc_usable_size == nullptr) return 0;
  if (heap_view.small_limit != 0 && !check_foreign(p, "malloc_usable_size", caller)) return 0;
  return libc.malloc_usable_size(const_cast<void*>(p));
}

void empty_caches() {
  if (heap_view.small_limit == 0) return;
  magazine_drain_all();
  report_rejected();
  slab_trim();
}

size_t trim_heap(size_t goal) {
  if (heap_view.small_limit == 0) return 0;
  empty_caches();
  const size_t given = page_trim(goal);
  return given < goal ? given + slab_decommit(goal - given) : given;
}

void check_at_exit() {
  if (heap_view.small_limit == 0 || !heap_view.checked) return;
  magazine_drain_all();
  report_rejected();
}

HeapCounters heap_counters() { return {foreign_count(), misuse_count()}; }

}  // namespace pm
