// The file heaps of the public C API (include/poolmalloc/poolmalloc.h).
#include <cerrno>
#include <cstring>

#include "heap/file_heap.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "poolmalloc/poolmalloc.h"

#define PM_API extern "C" __attribute__((visibility("default")))
#define PM_CALLER __builtin_return_address(0)

namespace pm {
namespace {

constexpr unsigned kFlags = PM_HEAP_TEMPORARY | PM_HEAP_EXISTING | PM_HEAP_SYNC;

pm_heap_t* handle_of(FileHeap* heap) { return reinterpret_cast<pm_heap_t*>(heap); }

FileHeap* heap_of(pm_heap_t* handle) {
  long error = 0;
  FileHeap* const heap = FileHeap::checked(handle, error);
  if (heap == nullptr) errno = static_cast<int>(-error);
  return heap;
}

void* answer(void* p, long error) {
  if (p == nullptr) errno = static_cast<int>(-error);
  return p;
}

void* allocate_in(pm_heap_t* handle, size_t alignment, size_t size) {
  FileHeap* const heap = heap_of(handle);
  if (heap == nullptr) return nullptr;
  long error = 0;
  void* const p = heap->allocate(size, alignment, error);
  return answer(p, error);
}

// Whether p lies in this heap; one line if not.
bool belongs(pm_heap_t* handle, const void* p, const char* call, const void* caller) {
  FileHeap* const owner = FileHeap::of(p);
  if (owner != nullptr && handle_of(owner) == handle) return true;
  report_other_heap(call, p, caller);
  return false;
}

long create(const char* path, size_t size, unsigned flags, FileHeap*& heap) {
  if (path == nullptr || size == 0 || (flags & ~kFlags) != 0) return -EINVAL;
  if ((flags & PM_HEAP_TEMPORARY) != 0 && (flags & PM_HEAP_EXISTING) != 0) return -EINVAL;
  if (!start_heap()) return -ENOTSUP;
  if (size > size_t{region.window_granules()} << kGranuleShift) return -ENOMEM;
  const FileSource source = {.path = path,
                             .kind = (flags & PM_HEAP_TEMPORARY) != 0  ? os::FileOrigin::unnamed
                                     : (flags & PM_HEAP_EXISTING) != 0 ? os::FileOrigin::existing
                                                                       : os::FileOrigin::fresh,
                             .sync = (flags & PM_HEAP_SYNC) != 0,
                             .bytes = align_up(size, kGranuleBytes)};
  long error = 0;
  heap = FileHeap::create(source, error);
  return error;
}

}  // namespace
}  // namespace pm

PM_API pm_heap_t* pm_heap_create_file(const char* path, size_t size, unsigned flags) {
  pm::FileHeap* heap = nullptr;
  const long error = pm::create(path, size, flags, heap);
  if (error == 0) return pm::handle_of(heap);
  errno = static_cast<int>(-error);
  return nullptr;
}

PM_API int pm_heap_destroy(pm_heap_t* heap) {
  pm::FileHeap* const found = pm::heap_of(heap);
  if (found == nullptr) return -1;
  const long error = found->destroy();
  if (error == 0) return 0;
  errno = static_cast<int>(-error);
  return -1;
}

PM_API void* pm_heap_alloc(pm_heap_t* heap, size_t size) { return pm::allocate_in(heap, pm::kSizeStep, size); }

PM_API void* pm_heap_aligned_alloc(pm_heap_t* heap, size_t alignment, size_t size) {
  if (!pm::is_power_of_two(alignment) || alignment > pm::kMaxAlignment) {
    errno = EINVAL;
    return nullptr;
  }
  return pm::allocate_in(heap, alignment < pm::kSizeStep ? pm::kSizeStep : alignment, size);
}

PM_API void* pm_heap_calloc(pm_heap_t* heap, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  void* const p = pm::allocate_in(heap, pm::kSizeStep, bytes);
  return p == nullptr ? nullptr : memset(p, 0, bytes);
}

PM_API void pm_heap_free(pm_heap_t* heap, void* p) {
  if (p == nullptr || !pm::belongs(heap, p, "pm_heap_free", PM_CALLER)) return;
  pm::FileHeap::of(p)->deallocate(p, PM_CALLER);
}

PM_API void* pm_heap_realloc(pm_heap_t* heap, void* p, size_t size) {
  if (p == nullptr) return pm::allocate_in(heap, pm::kSizeStep, size);
  if (!pm::belongs(heap, p, "pm_heap_realloc", PM_CALLER)) {
    errno = EINVAL;
    return nullptr;
  }
  pm::FileHeap* const found = pm::FileHeap::of(p);
  if (size == 0) {
    found->deallocate(p, PM_CALLER);
    return nullptr;
  }
  long error = 0;
  void* const moved = found->reallocate(p, size, PM_CALLER, error);
  return pm::answer(moved, error);
}

PM_API size_t pm_heap_usable_size(pm_heap_t* heap, const void* p) {
  if (p == nullptr || !pm::belongs(heap, p, "pm_heap_usable_size", PM_CALLER)) return 0;
  return pm::FileHeap::of(p)->usable_size(p, "pm_heap_usable_size", PM_CALLER);
}

PM_API pm_heap_t* pm_heap_of(const void* p) { return pm::handle_of(pm::FileHeap::of(p)); }

PM_API size_t pm_heap_trim(pm_heap_t* heap, size_t goal) {
  pm::FileHeap* const found = pm::heap_of(heap);
  return found == nullptr ? 0 : found->trim(goal);
}

PM_API int pm_heap_get_info(pm_heap_t* heap, struct pm_heap_info* info) {
  pm::FileHeap* const found = pm::heap_of(heap);
  if (found == nullptr) return -1;
  pm::FileHeapStatistics now;
  if (!found->collect(now)) {
    errno = EPERM;
    return -1;
  }
  *info = {.size = now.size,
           .used = now.used,
           .free = now.free,
           .largest = now.largest,
           .backed = now.backed,
           .objects = now.objects};
  return 0;
}
