#include "os/cpu.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/auxv.h>

#include <atomic>

#include "base/bits.h"
#include "os/process.h"
#include "os/syscall.h"
#include "os/vfork.h"

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif

// glibc 2.35 and later; absent in older ones, hence weak.
extern "C" {
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
// glibc 2.32 and later: false once a second thread was started.
extern char __libc_single_threaded __attribute__((weak));
}

namespace pm::os {
namespace {

// Ours, for C libraries that register none. Untouched by the kernel unless register_this_thread succeeds.
thread_local RseqArea own_area __attribute__((tls_model("initial-exec"))) = {0, kNoCpu, 0, 0, 0, 0, 0};
RseqSource source = RseqSource::none;

char* thread_pointer() { return static_cast<char*>(__builtin_thread_pointer()); }

ptrdiff_t own_area_offset() { return reinterpret_cast<char*>(&own_area) - thread_pointer(); }

// What stood in the area's fields before hide_cpu.
struct HiddenNumbers {
  uint32_t cpu_id;
  uint32_t mm_cid;
};
thread_local HiddenNumbers hidden_numbers __attribute__((tls_model("initial-exec"))) = {0, 0};

RseqArea& active_area() { return *reinterpret_cast<RseqArea*>(thread_pointer() + rseq_area_offset); }

}  // namespace

ptrdiff_t rseq_area_offset = 0;
ptrdiff_t rseq_cpu_offset = 0;

RseqSource start_rseq(bool allowed, bool use_mm_cid, bool* got_mm_cid) {
  *got_mm_cid = false;
  rseq_area_offset = own_area_offset();
  source = RseqSource::none;
#if !defined(POOLMALLOC_NO_RSEQ) && defined(__x86_64__)
  if (allowed) {
    // A size of 0 says that glibc was told not to register (glibc.pthread.rseq=0) or was refused.
    if (&__rseq_size != nullptr && __rseq_size != 0) {
      rseq_area_offset = __rseq_offset;
      source = active_area().cpu_id < 0x80000000U ? RseqSource::libc : RseqSource::none;
    }
    if (source == RseqSource::none) {
      rseq_area_offset = own_area_offset();
      source = RseqSource::own;
      if (!register_this_thread()) source = RseqSource::none;
    }
  }
#else
  static_cast<void>(allowed);
#endif
  rseq_cpu_offset = rseq_area_offset + static_cast<ptrdiff_t>(offsetof(RseqArea, cpu_id));
  if (use_mm_cid && source != RseqSource::none && getauxval(AT_RSEQ_FEATURE_SIZE) >= offsetof(RseqArea, reserved)) {
    rseq_cpu_offset = rseq_area_offset + static_cast<ptrdiff_t>(offsetof(RseqArea, mm_cid));
    *got_mm_cid = true;
  }
  return source;
}

namespace {

template <typename Use>
void each_area_offset(Use use) {
  use(own_area_offset());
  if (&__rseq_offset != nullptr) use(__rseq_offset);
  if (rseq_area_offset != 0) use(rseq_area_offset);
}

}  // namespace

void cover_rseq_areas(ptrdiff_t& low, ptrdiff_t& high) {
  each_area_offset([&](ptrdiff_t offset) {
    const auto end = offset + static_cast<ptrdiff_t>(sizeof(RseqArea));
    if (offset < low) low = offset;
    if (end > high) high = end;
  });
}

void clear_rseq_areas(char* pointer) {
  each_area_offset([&](ptrdiff_t offset) { reinterpret_cast<RseqArea*>(pointer + offset)->cpu_id = kNoCpu; });
}

bool register_this_thread() {
  if (source != RseqSource::own) return false;
  // The area is the parent's, and is to hold the parent's CPU again.
  if (PM_UNLIKELY(is_vfork_child())) return false;
  if (own_area.cpu_id < 0x80000000U) return true;
  const long result = raw_syscall(SYS_rseq, argument(&own_area), sizeof own_area, 0, kRseqSignature);
  // Never unregistered: the kernel writes to the area only when it returns to this thread, which ends with its TLS.
  return !failed(result);
}

namespace {

bool by_mm_cid() { return rseq_cpu_offset != rseq_area_offset + static_cast<ptrdiff_t>(offsetof(RseqArea, cpu_id)); }

// One instruction, so that the kernel cannot write in between. Relaxed: the thread's own, and the kernel's on its
// behalf.
void put_back(uint32_t& field, uint32_t number) {
  uint32_t expected = kNoCpu;
  __atomic_compare_exchange_n(&field, &expected, number, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

}  // namespace

void hide_cpu() {
  RseqArea& area = active_area();
  hidden_numbers = {area.cpu_id, area.mm_cid};
  area.cpu_id = kNoCpu;
  if (by_mm_cid()) area.mm_cid = kNoCpu;
}

void show_cpu() {
  RseqArea& area = active_area();
  put_back(area.cpu_id, hidden_numbers.cpu_id);
  if (by_mm_cid()) put_back(area.mm_cid, hidden_numbers.mm_cid);
}

namespace {

// One past the largest number in a list such as "0-1" or "0,2-5"; 0 if there is none.
uint32_t end_of_list(const char* p) {
  uint32_t end = 0;
  for (uint32_t value = 0; *p != 0; ++p) {
    const bool digit = *p >= '0' && *p <= '9';
    value = digit ? value * 10 + static_cast<uint32_t>(*p - '0') : 0;
    if (digit && value >= end) end = value + 1;
  }
  return end;
}

}  // namespace

uint32_t possible_cpus() {
  constexpr uint32_t kMost = 8192;
  uint64_t allowed[kMost / 64] = {};
  // Answers how many bytes the kernel's masks have: what it was built for, far more than there are.
  const long mask_bytes = raw_syscall(SYS_sched_getaffinity, 0, sizeof allowed, argument(allowed));
  const uint32_t built_for = failed(mask_bytes) ? kMost : static_cast<uint32_t>(mask_bytes) * 8;
  uint32_t end_of_allowed = 1;
  for (uint32_t word = 0; word < kMost / 64; ++word) {
    if (allowed[word] != 0) end_of_allowed = word * 64 + log2_floor(allowed[word]) + 1;
  }
  char text[256];
  const bool readable = read_small_file("/sys/devices/system/cpu/possible", text, sizeof text) > 0;
  const uint32_t possible = readable ? end_of_list(text) : 0;
  // A CPU that we may run on and that the file does not know: the file is not the kernel's.
  return possible >= end_of_allowed ? possible : built_for;
}

uint32_t current_cpu() {
  // Before start_rseq no area is chosen.
  const uint32_t cpu = rseq_area_offset != 0 ? active_area().cpu_id : kNoCpu;
  if (cpu < 0x80000000U) return cpu;
  const int answer = sched_getcpu();
  return answer < 0 ? 0 : static_cast<uint32_t>(answer);
}

uint32_t rseq_cpu() { return *reinterpret_cast<volatile uint32_t*>(thread_pointer() + rseq_cpu_offset); }

void prepare_fence() { raw_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0); }

bool fence_rseq() {
  // The only thread there is, and registered, so no worker either: no other can be in a sequence. Sandboxes of programs
  // without threads end them for a rare call (sshd).
  if (&__libc_single_threaded != nullptr && __libc_single_threaded != 0 && rseq_cpu_id() < 0x80000000U) return true;
  long result = raw_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0);
  if (result == -1 /* EPERM: not registered, as after an exec-like reset */) {
    prepare_fence();
    result = raw_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0);
  }
  return !failed(result);
}

}  // namespace pm::os
