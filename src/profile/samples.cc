#include "profile/samples.h"

namespace pm {

bool SampleTable::reserve(size_t samples) {
  most_ = samples;
  const size_t buckets = std::bit_ceil(samples);
  shift_ = 64 - log2_floor(buckets);
  mask_ = buckets - 1;
  return samples_.reserve(samples) && buckets_.reserve(buckets) && samples_.commit(0, samples) &&
         buckets_.commit(0, buckets);
}

bool SampleTable::add(const LiveSample& sample) {
  uint32_t node = unused_;
  if (node != 0) {
    unused_ = samples_[node - 1].next;
  } else {
    if (used_ == most_) return false;
    node = ++used_;
  }
  uint32_t& bucket = bucket_of(sample.address);
  samples_[node - 1] = sample;
  samples_[node - 1].next = bucket;
  bucket = node;
  ++count_;
  return true;
}

bool SampleTable::remove(uintptr_t address, LiveSample& out) {
  for (uint32_t* link = &bucket_of(address); *link != 0; link = &samples_[*link - 1].next) {
    LiveSample& sample = samples_[*link - 1];
    if (sample.address != address) continue;
    out = sample;
    const uint32_t node = *link;
    *link = sample.next;
    sample.address = 0;
    sample.next = unused_;
    unused_ = node;
    --count_;
    return true;
  }
  return false;
}

}  // namespace pm
