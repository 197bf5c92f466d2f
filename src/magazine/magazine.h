// The magazine layer: one object at a time, from and to the CPU's magazine of its class; batches from and to the depot
// and the slabs when it is empty or full.
//
// The hot half is magazine_pop and magazine_push: inline, lock-free, some twenty instructions. The cold half moves
// batches. Thread-safe; usable from signal handlers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "magazine/access.h"

namespace pm {

struct MagazineOptions {
  uint64_t magazine_bytes;  // capacity budget of one CPU
  uint64_t depot_bytes;
  bool allow_rseq;
  bool use_mm_cid;
  bool checked;  // test for interior pointers on the hot path
};

enum class MagazineMode : uint8_t { rseq, locked };

// False if address space for the blocks is refused. Chooses the mode.
bool magazine_init(const MagazineOptions& options);
// Other sizes than those of the options, from now on: magazines and depot above them do not grow, and shrink as they
// are drained. Thread-safe.
void magazine_resize(uint64_t magazine_bytes, uint64_t depot_bytes);
MagazineMode magazine_mode();
bool magazine_uses_mm_cid();

// An object of the class into `out`. Pop::empty: the magazine is empty, or not reachable this way. Pop::sampled: there
// is one, and the caller calls magazine_was_sampled.
PM_HOT Pop magazine_pop(ClassId id, Popped& out) {
#if PM_HAS_RSEQ
  return rseq_pop(id, out);
#else
  static_cast<void>(id);
  static_cast<void>(out);
  return Pop::empty;
#endif
}

// Puts the object into the magazine. Push::suspect: it seems to lie there already, or not to be an object's start.
PM_HOT Push magazine_push(ClassId id, void* p) {
#if PM_HAS_RSEQ
  return rseq_push(id, p);
#else
  static_cast<void>(id);
  static_cast<void>(p);
  return Push::full;
#endif
}

// The same for an object whose start the caller has tested.
PM_HOT Push magazine_push_start(ClassId id, void* p) {
#if PM_HAS_RSEQ
  return rseq_push_start(id, p);
#else
  static_cast<void>(id);
  static_cast<void>(p);
  return Push::full;
#endif
}

// Whether p may be one of the objects freed last on this CPU: a false "yes" is possible, see magazine_holds_on_top.
PM_HOT bool magazine_may_hold_on_top(ClassId id, const void* p) {
#if PM_HAS_RSEQ
  const uint32_t cpu = os::rseq_cpu_id();
  // Locked, or by concurrency id: not to be seen from here.
  if (PM_UNLIKELY(cpu >= magazine_cpus || hot_blocks != magazine_blocks)) return true;
  auto* const block = reinterpret_cast<CpuBlock*>(magazine_blocks + (size_t{cpu} << kBlockShift));
  const uint64_t top = block->words[id].load(std::memory_order_relaxed) & kTopMask;
  const std::atomic<void*>* const slots = slots_of(*block) + top;
  if (PM_UNLIKELY(top < kLookBack)) return false;
  for (unsigned i = 0; i < kLookBack; ++i) {
    if ((slots - i)->load(std::memory_order_relaxed) == p) return true;
  }
  return false;
#else
  static_cast<void>(id);
  static_cast<void>(p);
  return true;
#endif
}

// After a pop that returned nothing: an object, with the magazine refilled; nullptr if memory is refused.
PM_COLD void* magazine_refill(ClassId id);

// After a push that did not succeed: makes room and puts p away. What became of it:
enum class Overflow : uint8_t { done, double_free };
PM_COLD Overflow magazine_overflow(ClassId id, void* p);

// Whether p is one of the objects freed last on this CPU, for certain.
bool magazine_holds_on_top(ClassId id, const void* p);

// Samples one allocation in `period` bytes from here on (sampling.h), or none (0): every magazine is emptied and armed,
// or disarmed. `generation` names the profile that the samples are for. Magazines of CPUs that cannot be reached follow
// when their CPU next takes a slow path. Not in a signal handler.
void magazine_sample(uint64_t period, uint32_t generation);
// After a pop that was sampled: sees to the next one of that magazine. Not where `out` was given back yet.
PM_COLD void magazine_was_sampled(ClassId id, Popped out);
// Puts a popped object back that was not handed out after all; its pop stays counted.
void magazine_put_back(ClassId id, void* p);

// Moves all magazines' and the depot's objects to the slabs. Returns false if some CPU could not be reached.
bool magazine_drain_all();

// The blocks of magazines, one by one: a CPU's each, then those of the locked mode. For whoever empties the idle ones.
uint32_t magazine_block_count();
struct MagazineUse {
  uint64_t activity;  // another number whenever a thread has used the block in between, as good as certainly
  uint64_t bytes;     // of the free objects in it
};
// False for a block that no thread has used yet.
bool magazine_use(uint32_t index, MagazineUse& out);
// Moves the block's objects to the slabs; returns their bytes. 0 if the CPU cannot be reached, or in a signal handler
// inside a lock.
size_t magazine_drain_block(uint32_t index);
// Moves batches of the depot to the slabs until `goal` bytes have gone or it is empty; returns the bytes.
size_t depot_drain(size_t goal);

struct MagazineClassStatistics {
  uint64_t magazine_objects, depot_objects, capacity, pops, pushes, misses, overflows, refilled, flushed;
};
void magazine_collect(MagazineClassStatistics (&rows)[kMaxClasses]);
// One block of magazines, numbered as above; false for one that no thread has used yet.
struct MagazineBlockStatistics {
  uint32_t cpu;  // or concurrency id; the number of a locked block
  bool locked;
  uint64_t objects, bytes, capacity_bytes, hits, misses;
};
bool magazine_collect_block(uint32_t index, MagazineBlockStatistics& out);
struct MagazineCounters {
  uint64_t grows, shrinks, drains, refills, flushes, depot_hits, slab_refills, direct, remote_refills, remote_frees;
};
MagazineCounters magazine_counters();
size_t magazine_table_bytes();

void magazine_before_fork();
void magazine_after_fork_parent();
void magazine_after_fork_child(bool interrupted);

}  // namespace pm
