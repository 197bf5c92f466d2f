// The sampled objects that live: by address, what is to be known when one is freed. A hash table of fixed size.
// Guarded by the profile's lock.
#pragma once

#include <cstdint>

#include "page/granule.h"
#include "page/table.h"
#include "slab/size_class.h"

namespace pm {

struct LiveSample {
  uintptr_t address;
  uint64_t time_ns;     // monotonic
  uint64_t weight;      // bytes that it stands for
  uint32_t generation;  // of the profile that took it
  uint32_t requested;   // bytes that the program asked for; 0 of a large object
  uint32_t site;
  uint32_t next;  // in its bucket, or of the unused ones: index plus one
};

class SampleTable {
 public:
  bool reserve(size_t samples);
  // False if there is no room.
  bool add(const LiveSample& sample);
  // Removes the sample at the address; false if there is none.
  bool remove(uintptr_t address, LiveSample& out);
  uint64_t count() const { return count_; }
  // Samples lie below it, between unused ones, whose address is 0.
  uint32_t used() const { return used_; }
  const LiveSample& operator[](uint32_t i) const { return samples_[i]; }

  // A hint: what is known of the address will be asked for.
  void prefetch(uintptr_t address) const { __builtin_prefetch(&bucket_of(address)); }

  template <typename Use>
  void each(Use use) const {
    for (uint32_t i = 0; i < used_; ++i) {
      if (samples_[i].address != 0) use(samples_[i]);
    }
  }
  size_t resident_bytes() const { return samples_.resident_bytes() + buckets_.resident_bytes(); }

 private:
  // Granules are scattered, and what lies in one stays together: sampled objects of a class lie side by side, and those
  // that come and go in the same few places, which should be in the same few cache lines here.
  uint32_t& bucket_of(uintptr_t address) const {
    const uint64_t granule = ((address >> kGranuleShift) * 0x9e3779b97f4a7c15U) >> shift_;
    const uint64_t inside = (address % kGranuleBytes) / kSizeStep;
    return buckets_[(granule + inside) & mask_];
  }

  Table<LiveSample> samples_;
  Table<uint32_t> buckets_;
  size_t most_ = 0;
  unsigned shift_ = 0;
  size_t mask_ = 0;
  uint32_t used_ = 0;
  uint32_t unused_ = 0;
  uint64_t count_ = 0;
};

}  // namespace pm
