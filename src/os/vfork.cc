#include "os/vfork.h"

#include <cerrno>
#include <cstdint>

#include "os/cpu.h"
#include "os/process.h"
#include "os/syscall.h"

namespace pm::os {
namespace {

// The last child of vfork that ran with this thread's storage, while it does. 0: none. A process forked from such a
// child finds another's number here.
thread_local int borrower __attribute__((tls_model("initial-exec"))) = 0;

}  // namespace

bool is_vfork_child() { return borrower != 0 && borrower == process_id(); }

}  // namespace pm::os

#if PM_HAS_VFORK

// What the parent has to know afterwards, in one register: the borrower before, and whether the area said "no CPU"
// already. Then this task is a child itself, or was never registered, and the area stays as it is.
extern "C" __attribute__((visibility("hidden"), used)) uint64_t pm_before_vfork() {
  const bool hidden = pm::os::rseq_cpu_id() >= 0x80000000U;
  return uint64_t{hidden} << 32 | static_cast<uint32_t>(pm::os::borrower);
}

extern "C" __attribute__((visibility("hidden"), used)) pid_t pm_after_vfork(long result, uint64_t before) {
  const bool hidden = before >> 32 != 0;
  if (result == 0) {
    pm::os::borrower = pm::os::process_id();
    if (!hidden) pm::os::hide_cpu();
    return 0;
  }
  if (pm::os::failed(result)) {
    errno = static_cast<int>(-result);
    return -1;
  }
  pm::os::borrower = static_cast<int>(static_cast<uint32_t>(before));
  if (!hidden) pm::os::show_cpu();
  return static_cast<pid_t>(result);
}

static_assert(SYS_vfork == 58);

asm(R"(
  .text
  .p2align 4
  .hidden pm_vfork
  .globl pm_vfork
  .type pm_vfork, @function
pm_vfork:
  .cfi_startproc
  endbr64
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  call pm_before_vfork
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  movq %rax, %rsi
  popq %rdi
  .cfi_adjust_cfa_offset -8
  .cfi_register %rip, %rdi
  movl $58, %eax
  syscall
  pushq %rdi
  .cfi_adjust_cfa_offset 8
  .cfi_offset %rip, -8
  movq %rax, %rdi
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  call pm_after_vfork
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
  .size pm_vfork, . - pm_vfork
)");

#endif
