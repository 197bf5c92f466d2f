// dlopen without RTLD_DEEPBIND.
//
// A library opened with that flag binds malloc and free to the C library's own, while memory that it exchanges with the
// rest of the program is ours: every replaced allocator crashes there sooner or later (PHP's extensions, for one). So
// the flag is cleared unless POOLMALLOC_DEEPBIND=keep.
//
// The real dlopen looks at its return address to find the caller's RUNPATH and namespace. So it must not be called from
// here: the flag is cleared in place and the real function jumped to, with the caller's frame untouched.
#include <dlfcn.h>

#include "heap/heap.h"
#include "runtime/runtime.h"

extern "C" {

__attribute__((visibility("hidden"))) void* pm_real_dlopen = nullptr;
__attribute__((visibility("hidden"))) int pm_dlopen_mask = -1;

// Called with the caller's arguments saved.
__attribute__((visibility("hidden"), used)) void pm_find_dlopen() {
  void* const real = dlsym(RTLD_NEXT, "dlopen");
  if (pm::start_heap() && pm::options().deepbind == "clear") pm_dlopen_mask = ~RTLD_DEEPBIND;
  pm_real_dlopen = real;
}

}  // extern "C"

static_assert(RTLD_DEEPBIND == 8);

#if defined(__x86_64__)
asm(R"(
  .text
  .globl dlopen
  .type dlopen, @function
dlopen:
  .cfi_startproc
  endbr64
  cmpq $0, pm_real_dlopen(%rip)
  je 1f
2:
  andl pm_dlopen_mask(%rip), %esi
  jmp *pm_real_dlopen(%rip)
1:
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  pushq %rsi
  .cfi_adjust_cfa_offset 8
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  call pm_find_dlopen
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  popq %rsi
  .cfi_adjust_cfa_offset -8
  popq %rdi
  .cfi_adjust_cfa_offset -8
  jmp 2b
  .cfi_endproc
  .size dlopen, . - dlopen
)");
#endif
