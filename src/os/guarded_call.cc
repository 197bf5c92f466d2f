#include "os/guarded_call.h"

#include <cstdint>

#if defined(__x86_64__)

// The unwinder's interface (Itanium C++ ABI, Exception Handling, 1.5 and 2.2), as far as it is used here. Weak: the
// program brings it, if it can throw at all.
extern "C" {
void _Unwind_SetGR(void* context, int index, uint64_t value) __attribute__((weak));
void _Unwind_SetIP(void* context, uint64_t value) __attribute__((weak));
void* __cxa_begin_catch(void* exception) __attribute__((weak));
void __cxa_end_catch() __attribute__((weak));

__attribute__((visibility("hidden"))) int pm_call_guarded(pm_pressure_callback callback, const pm_forecast* now,
                                                          void* data);
__attribute__((visibility("hidden"))) extern const char pm_guarded_landing[];
__attribute__((visibility("hidden"), used)) int pm_catch_everything(int version, int actions, uint64_t kind,
                                                                    void* exception, void* context);
__attribute__((visibility("hidden"), used)) void pm_drop_exception(void* exception);
}

int pm_catch_everything(int version, int actions, uint64_t, void* exception, void* context) {
  constexpr int kSearchPhase = 1;
  constexpr int kHandlerFrame = 4;
  constexpr int kForcedUnwind = 8;  // pthread_exit, cancellation
  constexpr int kHandlerFound = 6;
  constexpr int kInstallContext = 7;
  constexpr int kContinueUnwind = 8;
  constexpr int kResultRegister = 0;  // rax
  const bool able = &_Unwind_SetGR != nullptr && &_Unwind_SetIP != nullptr && &__cxa_begin_catch != nullptr &&
                    &__cxa_end_catch != nullptr;
  if (version != 1 || !able || (actions & kForcedUnwind) != 0) return kContinueUnwind;
  if ((actions & kSearchPhase) != 0) return kHandlerFound;
  if ((actions & kHandlerFrame) == 0) return kContinueUnwind;
  _Unwind_SetGR(context, kResultRegister, reinterpret_cast<uint64_t>(exception));
  _Unwind_SetIP(context, reinterpret_cast<uint64_t>(pm_guarded_landing));
  return kInstallContext;
}

void pm_drop_exception(void* exception) {
  __cxa_begin_catch(exception);
  __cxa_end_catch();
}

asm(R"(
  .text
  .p2align 4
  .hidden pm_call_guarded
  .globl pm_call_guarded
  .type pm_call_guarded, @function
pm_call_guarded:
  .cfi_startproc
  .cfi_personality 0x1b, pm_catch_everything
  endbr64
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  movq %rdi, %rax
  movq %rsi, %rdi
  movq %rdx, %rsi
  call *%rax
  movl $1, %eax
  addq $8, %rsp
  .cfi_remember_state
  .cfi_adjust_cfa_offset -8
  ret
  .hidden pm_guarded_landing
  .globl pm_guarded_landing
pm_guarded_landing:
  .cfi_restore_state
  endbr64
  movq %rax, %rdi
  call pm_drop_exception
  xorl %eax, %eax
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
  .size pm_call_guarded, . - pm_call_guarded
)");

namespace pm::os {

bool call_guarded(pm_pressure_callback callback, const pm_forecast* now, void* data) {
  return pm_call_guarded(callback, now, data) != 0;
}

}  // namespace pm::os

#else

namespace pm::os {

bool call_guarded(pm_pressure_callback callback, const pm_forecast* now, void* data) {
  callback(now, data);
  return true;
}

}  // namespace pm::os

#endif
