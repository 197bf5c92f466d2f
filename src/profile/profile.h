// Heap profiles: which code holds, and allocated, the memory; by samples (magazine/sampling.h).
//
// A sampled allocation's stack is captured (stack.h) and looked up among the call sites (sites.h); its object comes
// from slots of its own (slots.h), or is a large object whose record is marked; and a record of it is kept until it is
// freed (samples.h). One lock guards what is counted; it is held for some hundred nanoseconds, never across a system
// call but the dump's copy, and nests in nothing. A signal handler inside any lock samples nothing, and what it frees
// is put off.
//
// Nothing of this exists before the first profile of a process: no table, no page, and on the paths of malloc and free
// one comparison where they are cold already. All memory is reserved at the first start, bounded by `profile_bytes`;
// what does not fit is dropped and counted.
//
// A forked child goes on with its copy of the profile: the parent's objects are its own as well. Thread-safe; start and
// stop are not for signal handlers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "magazine/sampling.h"
#include "page/region.h"
#include "slab/slab.h"

namespace pm {

// How much memory the tables may take; before the first start.
void profile_configure(uint64_t table_bytes);

// From here on one sample in `period` bytes; 1 samples every allocation. 0, or -EINVAL for 0 and what is above 2^40,
// -EALREADY while a profile is taken, -ENOMEM.
long profile_start(uint64_t period);
// Takes no more samples. What was taken stays, and frees are still followed, until the next start. 0, or -ESRCH if no
// profile is taken.
long profile_stop();

// ---- For the heap ----

extern PM_SHARED std::atomic<bool> profile_exists;  // a profile was started in this process, or in its parent

// What the record of the granule at p says, for p in the region and no object of a size class. Memory that is not ours
// has no records.
PM_COLD Sampled sampled_at(const void* p);
// Brings near what is known of p, if anything is: of an object that was sampled long ago it lies in many places.
PM_COLD void prefetch_sampled(const void* p);
inline bool maybe_sampled(const void* p) {
  return PM_UNLIKELY(profile_exists.load(std::memory_order_relaxed)) && sampled_at(p) != Sampled::no;
}

inline bool is_in_slots(const void* p) { return maybe_sampled(p) && sampled_at(p) == Sampled::slots; }
inline bool is_sampling() { return sampling.load(std::memory_order_relaxed) != nullptr; }

// An object of the class, for a request of `size` bytes, whose allocation is sampled now; nullptr if that could not be.
PM_COLD void* profile_allocate(size_t size, ClassId id);
// Of an allocation that no magazine counted: it drew for itself.
void count_direct_allocation(ClassId id);
// Draws for a large object that was just allocated or resized to `bytes`, and samples it.
PM_COLD void profile_large(void* p, size_t bytes);
// p, Sampled::object, is about to be freed, moved or resized.
PM_COLD void profile_forget(void* p);

// Of an address with Sampled::slots.
struct SampledPlace {
  enum class What : uint8_t { object, freed, inside, nothing };
  What what;
  size_t size;
  void* object;
};
SampledPlace profile_find(const void* p);
// Frees an object; what was at p before.
SampledPlace profile_free(void* p);

// ---- Statistics ----

struct ProfileStatistics {
  uint64_t period;  // 0: no profile is taken
  uint64_t samples, dropped, live_samples, table_bytes;
};
ProfileStatistics profile_statistics();
// Of small objects of the class, what no magazine counted.
struct SampledCounts {
  uint64_t allocations, frees;
};
SampledCounts profile_counts(ClassId id);
// Adds the runs of sampled objects to the slabs' rows.
void profile_collect(SlabClassStatistics (&rows)[kMaxClasses]);
void profile_audit();

void profile_before_fork();
void profile_after_fork_parent();
void profile_after_fork_child(bool interrupted);

}  // namespace pm
