// operator new and delete, all of them ([new.delete] in the C++ standard), without libstdc++: the handler and the
// exception are those of whichever C++ runtime the process has, reached through weak symbols.
#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "heap/heap.h"

#define PM_CALLER __builtin_return_address(0)
#define PM_OPERATOR __attribute__((visibility("default"), used))

// std::get_new_handler and std::__throw_bad_alloc: libstdc++ and libc++ both export them.
extern "C" {
std::new_handler weak_get_new_handler() __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
void weak_throw_bad_alloc() __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak));
}

namespace {

using Thrower = void (*)();

// A C++ runtime that came with a plugin, after us: our weak references were left empty when we were loaded.
template <typename Function>
Function find_in_runtime(const char* name) {
  for (const char* library : {"libstdc++.so.6", "libc++.so.1"}) {
    void* const handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) continue;
    void* const symbol = dlsym(handle, name);
    dlclose(handle);
    if (symbol != nullptr) return reinterpret_cast<Function>(symbol);
  }
  return nullptr;
}

std::new_handler current_handler() {
  if (&weak_get_new_handler != nullptr) return weak_get_new_handler();
  using Getter = std::new_handler (*)();
  const auto getter = find_in_runtime<Getter>("_ZSt15get_new_handlerv");
  return getter != nullptr ? getter() : nullptr;
}

[[noreturn]] void throw_bad_alloc() {
  if (&weak_throw_bad_alloc != nullptr) weak_throw_bad_alloc();
  const auto thrower = find_in_runtime<Thrower>("_ZSt17__throw_bad_allocv");
  if (thrower != nullptr) thrower();
  abort();  // no C++ runtime at all: nobody could catch it
}

void* attempt(size_t size, size_t alignment) {
  if (size > PTRDIFF_MAX) return nullptr;
  return alignment <= pm::kSizeStep ? pm::allocate(size) : pm::allocate_aligned(alignment, size);
}

// [new.delete.single]: call the handler until it makes room or is gone; it may throw.
PM_COLD void* insist(size_t size, size_t alignment) {
  for (;;) {
    void* const p = attempt(size, alignment);
    if (p != nullptr) return p;
    const std::new_handler handler = current_handler();
    if (handler == nullptr) throw_bad_alloc();
    handler();
  }
}

// The nothrow forms return nullptr where the handler throws. Code without exceptions cannot catch: the runtime's own
// nothrow new can, which calls ours and catches what comes out.
PM_COLD void* insist_nothrow(size_t size, size_t alignment) {
  void* const p = attempt(size, alignment);
  if (p != nullptr || current_handler() == nullptr) return p;
  if (alignment <= 1) {
    const auto catching = find_in_runtime<void* (*)(size_t, const std::nothrow_t*)>("_ZnwmRKSt9nothrow_t");
    return catching != nullptr ? catching(size, nullptr) : nullptr;
  }
  using Aligned = void* (*)(size_t, size_t, const std::nothrow_t*);
  const auto catching = find_in_runtime<Aligned>("_ZnwmSt11align_val_tRKSt9nothrow_t");
  return catching != nullptr ? catching(size, alignment, nullptr) : nullptr;
}

PM_HOT void* make(size_t size) {
  if (PM_LIKELY(size < pm::heap_view.small_limit)) {
    const pm::ClassId id = pm::class_of(size);
    pm::Popped popped;
    const pm::Pop pop = pm::magazine_pop(id, popped);
    if (PM_LIKELY(pop == pm::Pop::done)) return popped.object;
    if (PM_UNLIKELY(pop == pm::Pop::sampled)) return pm::allocate_sampled(size, id, popped);
  }
  return insist(size, 1);
}

PM_HOT void* make_nothrow(size_t size) {
  if (PM_LIKELY(size < pm::heap_view.small_limit)) {
    const pm::ClassId id = pm::class_of(size);
    pm::Popped popped;
    const pm::Pop pop = pm::magazine_pop(id, popped);
    if (PM_LIKELY(pop == pm::Pop::done)) return popped.object;
    if (PM_UNLIKELY(pop == pm::Pop::sampled)) return pm::allocate_sampled(size, id, popped);
  }
  return insist_nothrow(size, 1);
}

// Jumped to from the hot functions, so that the return address is that of their caller.
PM_COLD void drop_slowly(void* p) { pm::deallocate_cold(p, PM_CALLER); }
PM_COLD void drop_sized_slowly(void* p, size_t size) { pm::deallocate_sized_cold(p, size, PM_CALLER); }

PM_HOT void drop(void* p) {
  if (PM_UNLIKELY(!pm::deallocate_fast(p))) drop_slowly(p);
}

PM_HOT void drop_sized(void* p, size_t size) {
  if (PM_UNLIKELY(!pm::deallocate_sized_fast(p, size))) drop_sized_slowly(p, size);
}

}  // namespace

PM_OPERATOR void* operator new(size_t size) { return make(size); }
PM_OPERATOR void* operator new[](size_t size) { return make(size); }
PM_OPERATOR void* operator new(size_t size, const std::nothrow_t&) noexcept { return make_nothrow(size); }
PM_OPERATOR void* operator new[](size_t size, const std::nothrow_t&) noexcept { return make_nothrow(size); }
PM_OPERATOR void* operator new(size_t size, std::align_val_t a) { return insist(size, static_cast<size_t>(a)); }
PM_OPERATOR void* operator new[](size_t size, std::align_val_t a) { return insist(size, static_cast<size_t>(a)); }
PM_OPERATOR void* operator new(size_t size, std::align_val_t a, const std::nothrow_t&) noexcept {
  return insist_nothrow(size, static_cast<size_t>(a));
}
PM_OPERATOR void* operator new[](size_t size, std::align_val_t a, const std::nothrow_t&) noexcept {
  return insist_nothrow(size, static_cast<size_t>(a));
}

PM_OPERATOR void operator delete(void* p) noexcept { drop(p); }
PM_OPERATOR void operator delete[](void* p) noexcept { drop(p); }
PM_OPERATOR void operator delete(void* p, const std::nothrow_t&) noexcept { drop(p); }
PM_OPERATOR void operator delete[](void* p, const std::nothrow_t&) noexcept { drop(p); }
PM_OPERATOR void operator delete(void* p, size_t size) noexcept { drop_sized(p, size); }
PM_OPERATOR void operator delete[](void* p, size_t size) noexcept { drop_sized(p, size); }
PM_OPERATOR void operator delete(void* p, std::align_val_t) noexcept { drop(p); }
PM_OPERATOR void operator delete[](void* p, std::align_val_t) noexcept { drop(p); }
PM_OPERATOR void operator delete(void* p, size_t size, std::align_val_t) noexcept { drop_sized(p, size); }
PM_OPERATOR void operator delete[](void* p, size_t size, std::align_val_t) noexcept { drop_sized(p, size); }
PM_OPERATOR void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { drop(p); }
PM_OPERATOR void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { drop(p); }
