// Which CPU a thread runs on, and restartable sequences (rseq(2), Linux 4.18).
//
// The kernel keeps a small area per thread: the CPU the thread runs on, and `rseq_cs`, which names the instruction
// range that must be restarted if the thread is preempted, migrated or interrupted by a signal inside it. glibc 2.35
// and later registers one for every thread; we use that, and write nothing in it but `rseq_cs` (and in a child of
// vfork(2), which the kernel does not write to, "no CPU"). Where glibc did not, we register our own. Where the kernel
// refuses too, the area below stays at "no CPU" and callers fall back to locks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/compiler.h"

namespace pm::os {

// The kernel's struct rseq as far as we read it (include/uapi/linux/rseq.h).
struct alignas(32) RseqArea {
  uint32_t cpu_id_start;
  uint32_t cpu_id;  // kNoCpu (or the kernel's other negative value) while the thread is not registered
  uint64_t rseq_cs;
  uint32_t flags;
  uint32_t node_id;
  uint32_t mm_cid;
  uint32_t reserved;
};
inline constexpr uint32_t kNoCpu = UINT32_MAX;
inline constexpr uint32_t kRseqSignature = 0x53053053;

enum class RseqSource : uint8_t { none, libc, own };

// Distance from the thread pointer to the area in use, and to the field that names the CPU (cpu_id or mm_cid). Constant
// once start_rseq returned, 0 before. Without rseq it is our own area, which says "no CPU".
extern PM_SHARED ptrdiff_t rseq_area_offset;
extern PM_SHARED ptrdiff_t rseq_cpu_offset;

// Chooses the area; called once, before any other thread can exist for us. `use_mm_cid` asks for the kernel's dense
// concurrency ids (AT_RSEQ_FEATURE_SIZE >= 28) in place of CPU numbers; false is returned in `got_mm_cid` if not
// offered.
RseqSource start_rseq(bool allowed, bool use_mm_cid, bool* got_mm_cid);
// Where we register ourselves: does so for the calling thread, once. True if the thread is registered now.
bool register_this_thread();

// A bound above every CPU number the kernel can give a thread of ours: the highest in /sys/devices/system/cpu/possible
// plus one or, where that cannot be read or a container made it up, what the kernel was built for.
uint32_t possible_cpus();
// The CPU this thread runs on now; a hint.
uint32_t current_cpu();
// Tells the CPU that this thread spins.
inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}
// The value the hot path would see: the CPU by rseq, or a value >= 0x80000000 if the thread is not registered.
uint32_t rseq_cpu();

// For a thread that is made by hand: widens [low, high), a range around the thread pointer, so that it covers every
// area above, and writes "no CPU" into those of a thread whose pointer this is.
void cover_rseq_areas(ptrdiff_t& low, ptrdiff_t& high);
void clear_rseq_areas(char* thread_pointer);

// For a task that uses this thread's area without being registered for it (vfork.h): hide_cpu says "no CPU" in its
// place, in every field that the sequences look at. show_cpu, by the thread itself afterwards, takes that back unless
// the kernel has written a number meanwhile, which it does where the thread has moved.
void hide_cpu();
void show_cpu();

// The field cpu_id of the area, as the sequences read it.
inline uint32_t rseq_cpu_id() {
  const char* const area = static_cast<const char*>(__builtin_thread_pointer()) + rseq_area_offset;
  return reinterpret_cast<const volatile RseqArea*>(area)->cpu_id;
}

// After it returns true, every restartable sequence that ran on any CPU before has been restarted or has committed
// (membarrier(2), PRIVATE_EXPEDITED_RSEQ). False where the kernel does not offer it.
bool fence_rseq();
// Registers the intent; cheap only while the process has one thread, hence at start.
void prepare_fence();

}  // namespace pm::os
