// Carries plans out: asks the layers for memory from the outermost to the innermost, in slices that its caller can stop
// between, and measures what that costs.
//
// The layers are reached through a struct of functions, so that tests can count and refuse. None of them holds a lock
// across a system call. One thread at a time uses an Executor; the counters may be read by any (relaxed: numbers for
// people).
#pragma once

#include <atomic>

#include "magazine/magazine.h"
#include "page/page.h"
#include "reclaim/plan.h"

namespace pm {

// What the executor calls. Each returns the bytes it moved on or gave back, 0 for nothing.
struct ReclaimLayers {
  uint32_t (*block_count)();                  // of magazines
  bool (*block_use)(uint32_t, MagazineUse&);  // false: never used
  size_t (*drain_block)(uint32_t);            // to the slabs
  uint64_t (*depot_bytes)();
  size_t (*drain_depot)(size_t goal);
  uint64_t (*empty_slab_bytes)();
  size_t (*release_slabs)();  // to the page layer
  DirtyFigures (*dirty)();
  size_t (*decommit)(size_t goal, TrimScope);
  size_t (*decommit_slabs)(size_t goal);  // pages of sparse slabs
  uint64_t (*collapsible_bytes)();
  size_t (*collapse)(uint64_t goal);
  size_t (*prefault)(size_t goal);
  uint64_t (*refault_ns)();  // of one huge block; 0 if it cannot be measured now
  uint64_t (*clock_ns)();
  uint64_t (*cpu_ns)();  // of this thread
};
extern const ReclaimLayers kRealLayers;

struct ReclaimCounters {
  std::atomic<uint64_t> released_bytes[kReasons];  // given back to the system, by reason
  std::atomic<uint64_t> drained_bytes;             // moved from caches to slabs
  std::atomic<uint64_t> prefaulted_bytes;
  std::atomic<uint64_t> collapsed_bytes;
  std::atomic<uint64_t> steps;
};
extern PM_SHARED ReclaimCounters reclaim_counters;
void count_released(Reason reason, uint64_t bytes);

// Gives back what is free, in the calling thread and at once: pages first, then, if that was not enough, caches and
// slabs too, until `goal` bytes are given. Any thread outside of locks.
uint64_t release_now(const ReclaimLayers& layers, uint64_t goal, Reason reason);

class Executor {
 public:
  // Whether the caller wants to go on after a slice; asked between slices.
  using GoOn = bool (*)(void* context, Reason reason);

  void configure(const ReclaimLayers& layers) { layers_ = &layers; }

  // What could be given back now. Cheap: counters, and the page layer's locks one by one.
  // `sparse_bytes`: what of the slabs' free slots may be given back (Figures).
  Holdings look(uint64_t sparse_bytes);

  // The steps but notify, in order, until they are done or `go_on` says no. Returns the bytes given to the system.
  uint64_t carry_out(const Plan& plan, GoOn go_on, void* context);

  // Touches a part of one free huge block to learn what a refault costs. For calm moments with room to spare.
  void measure_refault();
  // How often sparse slabs had less to decommit than was asked for.
  uint64_t slabs_exhausted() const { return slabs_exhausted_; }
  const Prices& prices() const { return prices_; }
  void set_hold_price(uint64_t ns_per_mib_second) { prices_.hold_ns_per_mib_second = ns_per_mib_second; }

 private:
  // A CPU whose magazines nobody has used for this long is idle.
  static constexpr uint64_t kIdleNs = 1'000'000'000;
  static constexpr uint32_t kMostBlocks = 8192 + kLockedBlocks;
  // What one slice gives back: some milliseconds.
  static constexpr uint64_t kSliceBytes = 64 * kMiB;

  struct Look {
    uint64_t activity;
    uint64_t since_ns;  // when `activity` was first seen
  };

  uint32_t known_blocks();
  uint64_t drain(uint64_t goal, Reason reason);
  uint64_t decommit(const Step& step, TrimScope scope, GoOn go_on, void* context);
  void collapse(uint64_t goal);
  void prefault(uint64_t goal);

  const ReclaimLayers* layers_ = &kRealLayers;
  Prices prices_ = kUnmeasuredPrices;
  uint64_t slabs_exhausted_ = 0;
  uint32_t looks_known_ = 0;
  Look looks_[kMostBlocks];  // the first `looks_known_`: most machines have few CPUs, and this is many pages
};

}  // namespace pm
