// The end of a process whose memory can no longer be trusted, and the waiting side of Lock: what base needs of the
// kernel.
#include <linux/futex.h>

#include "base/check.h"
#include "base/lock.h"
#include "base/text.h"
#include "os/cpu.h"
#include "os/process.h"
#include "os/syscall.h"

namespace pm {

void die_check(const char* what, const char* file, int line) {
  char buffer[512];
  TextWriter out(buffer, sizeof buffer);
  out.text("poolmalloc: ").text(what).text(" (").text(file).text(":").number(static_cast<unsigned>(line)).text(")\n");
  os::write_all(2, out.data(), out.size());
  os::abort_process();
}

constinit thread_local uint32_t locks_held __attribute__((tls_model("initial-exec"))) = 0;

void Lock::lock_slowly() {
  // A critical section is some ten nanoseconds: spin about that long before sleeping.
  for (int spins = 0; spins < 64; ++spins) {
    uint32_t expected = kFree;
    if (state_.load(std::memory_order_relaxed) == kFree &&
        state_.compare_exchange_weak(expected, kHeld, std::memory_order_acquire, std::memory_order_relaxed)) {
      return;
    }
    os::pause_cpu();
  }
  while (state_.exchange(kContended, std::memory_order_acquire) != kFree) {
    os::raw_syscall(SYS_futex, os::argument(&state_), FUTEX_WAIT_PRIVATE, kContended, 0);
  }
}

void Lock::wake_one() { os::raw_syscall(SYS_futex, os::argument(&state_), FUTEX_WAKE_PRIVATE, 1); }

}  // namespace pm
