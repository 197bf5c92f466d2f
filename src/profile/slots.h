// Where sampled small objects lie: runs of granules of their own, one size class each.
//
// Their granules keep class 0 in the page map, so that no such object enters a magazine: every free, realloc and query
// of one takes the cold path and finds its record, and all others are spared the question. A run is a granule, two for
// classes above 64 KiB; it goes back to the page layer when it is empty, but for one of each class while a profile is
// taken.
//
// Guarded by the profile's lock, but for find and put_off, which a signal handler inside a lock may call for an object
// that it holds. Runs come from the page layer outside of the lock.
#pragma once

#include <atomic>
#include <cstdint>

#include "page/table.h"
#include "slab/slab.h"

namespace pm {

class SampledSlots {
 public:
  // Of 64 slots.
  struct Word {
    std::atomic<uint64_t> free;     // bit: the slot is free
    std::atomic<uint64_t> put_off;  // bit: to be freed by whoever gets the lock
  };
  // A cache line holds what is read of a run whose first slots are in use.
  struct alignas(kCacheLine) Run {
    uint32_t next;  // in the list of its class with a free slot, or of unused records: index plus one
    uint32_t previous;
    GranuleIndex first;
    uint32_t size;
    uint16_t slots;
    uint16_t used;
    uint16_t hint;  // no word before this one has a bit of `free` set
    ClassId id;
    uint8_t granules;
    Word words[kMaxSlots / 64];
  };
  struct Place {
    uint32_t run;
    uint32_t slot;
    ClassId id;
    bool exact;    // the address is where an object starts, or would
    bool is_free;  // in the slots, or about to be
    void* object;  // start of the object that the address points into; nullptr behind the last
  };
  struct Extent {
    GranuleIndex first;
    uint32_t granules;
  };

  // Which empty runs stay: none, the last of a class, or all.
  enum class Keep : uint8_t { none, last, always };

  static uint32_t granules_for(ClassId id) { return size_class(id).size <= kGranuleBytes ? 1 : 2; }

  bool reserve(size_t runs);
  // Before `add`, outside of the lock: makes room for what is known of the run's granules.
  bool prepare(Extent extent) { return run_of_.commit(extent.first, extent.granules); }
  // False if there are too many runs.
  bool add(Extent extent, ClassId id);
  // A slot of the class, or nullptr if no run has one.
  void* take(ClassId id);
  // A hint: find(p) follows.
  void prefetch(const void* p) const { __builtin_prefetch(&run_of_[region.granule_of(p)]); }
  // `p` lies in a granule of a run.
  Place find(const void* p) const;
  // Takes a slot back. True if its run is to go back to the page layer: `out`.
  bool give(const Place& place, Keep keep, Extent& out);
  // For the holder of an object who cannot wait for the lock. False if it was free already.
  bool put_off(const Place& place);
  // Calls use(place) for every slot that was put off.
  template <typename Use>
  void each_put_off(Use use) {
    if (!has_put_off_.exchange(false, std::memory_order_acquire)) return;
    for (uint32_t r = 0; r < used_runs_; ++r) {
      Run& run = runs_[r];
      for (unsigned w = 0; w * 64 < run.slots; ++w) {
        uint64_t bits = run.words[w].put_off.exchange(0, std::memory_order_acquire);
        for (; bits != 0; bits &= bits - 1) {
          use(Place{r, w * 64 + static_cast<uint32_t>(std::countr_zero(bits)), run.id, true, true, nullptr});
        }
      }
    }
  }
  bool has_put_off() const { return has_put_off_.load(std::memory_order_relaxed); }
  // An empty run to be given back, kept or not; false if there is none.
  bool take_empty(Extent& out);

  void* address(const Place& place) const;
  // Adds what lies here to the rows.
  void collect(SlabClassStatistics (&rows)[kMaxClasses]) const;
  size_t resident_bytes() const;
  void audit() const;

 private:
  void link(uint32_t run);
  void unlink(uint32_t run);
  Extent close(uint32_t run);

  Table<Run> runs_;
  Table<std::atomic<uint32_t>> run_of_;  // by granule: index plus one
  size_t most_runs_ = 0;
  uint32_t used_runs_ = 0;
  uint32_t unused_ = 0;
  uint32_t partial_[kMaxClasses] = {};
  std::atomic<bool> has_put_off_{false};
};

}  // namespace pm
