// The malloc ABI: each entry point checks its arguments, calls the heap and sets errno. Rules are those of the Linux
// man pages malloc(3), posix_memalign(3) and of C23 7.24.3; where they leave a choice, glibc's.
#include <malloc.h>
#include <stdlib.h>

#include <cerrno>
#include <cstdint>

#include "heap/heap.h"
#include "os/process.h"

#define PM_ABI extern "C" __attribute__((visibility("default"), used))
#define PM_ALIAS(of) __attribute__((visibility("default"), used, alias(#of)))
#define PM_CALLER __builtin_return_address(0)

namespace {

PM_COLD void* out_of_memory() {
  errno = ENOMEM;
  return nullptr;
}

// nullptr becomes ENOMEM.
inline void* checked(void* p) { return PM_LIKELY(p != nullptr) ? p : out_of_memory(); }

PM_COLD void* allocate_or_errno(size_t size) { return checked(pm::allocate_cold(size)); }
PM_COLD void* refill_or_errno(size_t size, pm::ClassId id) { return checked(pm::allocate_after_miss(size, id)); }

// Jumped to from the hot functions, so that the return address is that of their caller.
PM_COLD void free_slowly(void* p) { pm::deallocate_cold(p, PM_CALLER); }
PM_COLD void free_sized_slowly(void* p, size_t size) { pm::deallocate_sized_cold(p, size, PM_CALLER); }

inline void free_with_size(void* p, size_t size) {
  if (PM_UNLIKELY(!pm::deallocate_sized_fast(p, size))) free_sized_slowly(p, size);
}

bool is_alignment(size_t alignment) { return pm::is_power_of_two(alignment); }

void* aligned(size_t alignment, size_t size) {
  if (PM_UNLIKELY(size > PTRDIFF_MAX)) return out_of_memory();
  if (alignment <= pm::kSizeStep) return checked(pm::allocate(size));
  return checked(pm::allocate_aligned(alignment, size));
}

}  // namespace

// As heap.h's allocate, but with errno in the cold calls, so that the hot path ends in a plain return.
PM_ABI void* malloc(size_t size) {
  if (PM_LIKELY(size < pm::heap_view.small_limit)) {
    const pm::ClassId id = pm::class_of(size);
    pm::Popped popped;
    const pm::Pop pop = pm::magazine_pop(id, popped);
    if (PM_LIKELY(pop == pm::Pop::done)) return popped.object;
    if (PM_UNLIKELY(pop == pm::Pop::sampled)) return pm::allocate_sampled(size, id, popped);
    return refill_or_errno(size, id);
  }
  return allocate_or_errno(size);
}

PM_ABI void free(void* p) {
  if (PM_UNLIKELY(!pm::deallocate_fast(p))) free_slowly(p);
}

PM_ABI void* calloc(size_t count, size_t size) {
  size_t bytes;
  if (PM_UNLIKELY(__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX)) return out_of_memory();
  return checked(pm::allocate_zeroed(bytes));
}

PM_ABI void* realloc(void* p, size_t size) {
  if (PM_UNLIKELY(size > PTRDIFF_MAX)) return out_of_memory();
  if (PM_UNLIKELY(size == 0 && p != nullptr)) {
    pm::deallocate(p, PM_CALLER);
    return nullptr;
  }
  return checked(pm::reallocate(p, size, PM_CALLER));
}

PM_ABI void* reallocarray(void* p, size_t count, size_t size) {
  size_t bytes;
  if (PM_UNLIKELY(__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX)) return out_of_memory();
  if (PM_UNLIKELY(bytes == 0 && p != nullptr)) {
    pm::deallocate(p, PM_CALLER);
    return nullptr;
  }
  return checked(pm::reallocate(p, bytes, PM_CALLER));
}

// C23 wants a power of two and no multiple; glibc before 2.38 took anything and rounded. An alignment that is none is
// EINVAL.
PM_ABI void* aligned_alloc(size_t alignment, size_t size) {
  if (PM_UNLIKELY(!is_alignment(alignment))) {
    errno = EINVAL;
    return nullptr;
  }
  return aligned(alignment, size);
}

// As glibc: an alignment that is no power of two is rounded up to one, unless there is none above it.
PM_ABI void* memalign(size_t alignment, size_t size) {
  if (PM_UNLIKELY(alignment > SIZE_MAX / 2 + 1)) {
    errno = EINVAL;
    return nullptr;
  }
  return aligned(std::bit_ceil(alignment), size);
}

PM_ABI int posix_memalign(void** out, size_t alignment, size_t size) {
  if (PM_UNLIKELY(!is_alignment(alignment) || alignment % sizeof(void*) != 0)) return EINVAL;
  // POSIX: the error is the result, errno is left alone.
  const int saved = errno;
  void* const p = aligned(alignment, size);
  if (PM_UNLIKELY(p == nullptr)) {
    errno = saved;
    return ENOMEM;
  }
  *out = p;
  return 0;
}

PM_ABI void* valloc(size_t size) { return aligned(pm::os::page_size(), size); }

PM_ABI void* pvalloc(size_t size) {
  const size_t page = pm::os::page_size();
  if (PM_UNLIKELY(size > PTRDIFF_MAX - page)) return out_of_memory();
  return aligned(page, pm::align_up(size == 0 ? 1 : size, page));
}

PM_ABI size_t malloc_usable_size(void* p) { return pm::usable_size(p, PM_CALLER); }

// What an object of `size` bytes would really get (BSD).
PM_ABI size_t malloc_good_size(size_t size) {
  if (size <= pm::kMaxClassSize) return pm::size_class(pm::class_of(size)).size;
  return size > PTRDIFF_MAX ? size : pm::align_up(size, pm::os::page_size());
}

PM_ABI void free_sized(void* p, size_t size) { free_with_size(p, size); }
PM_ABI void free_aligned_sized(void* p, size_t, size_t size) { free_with_size(p, size); }

#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmissing-attributes"  // what the target promises, the alias keeps
#endif
extern "C" {
PM_ALIAS(free) void cfree(void*);
PM_ALIAS(malloc) void* __libc_malloc(size_t);
PM_ALIAS(free) void __libc_free(void*);
PM_ALIAS(calloc) void* __libc_calloc(size_t, size_t);
PM_ALIAS(realloc) void* __libc_realloc(void*, size_t);
PM_ALIAS(memalign) void* __libc_memalign(size_t, size_t);
PM_ALIAS(valloc) void* __libc_valloc(size_t);
PM_ALIAS(pvalloc) void* __libc_pvalloc(size_t);
PM_ALIAS(posix_memalign) int __posix_memalign(void**, size_t, size_t);
}
