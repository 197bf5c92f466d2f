// A histogram of durations over many magnitudes, in the manner of HdrHistogram: exact below 64, above that each power
// of two is cut into 64 equal steps, so a reported value is at most 1.6 % above the true one. Fixed size, no
// allocation. One writer, by record(), or many, by record_shared(); whoever merges and asks comes after them.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace bench {

class Histogram {
 public:
  void record(uint64_t value) {
    ++counts_[bucket_of(value)];
    ++total_;
    worst_ = std::max(worst_, value);
  }

  // Relaxed: the counts belong to nothing but themselves.
  void record_shared(uint64_t value) {
    std::atomic_ref(counts_[bucket_of(value)]).fetch_add(1, std::memory_order_relaxed);
    std::atomic_ref(total_).fetch_add(1, std::memory_order_relaxed);
    std::atomic_ref worst(worst_);
    uint64_t seen = worst.load(std::memory_order_relaxed);
    while (seen < value && !worst.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
  }

  void merge(const Histogram& other) {
    for (size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
    worst_ = std::max(worst_, other.worst_);
  }

  // The smallest value (to the bucket's upper edge) that at least this part of all values does not exceed.
  uint64_t quantile(double part) const {
    const uint64_t wanted = std::max<uint64_t>(1, static_cast<uint64_t>(part * static_cast<double>(total_) + 0.5));
    uint64_t seen = 0;
    for (size_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (seen >= wanted) return std::min(upper_edge(i), worst_);
    }
    return worst_;
  }

  uint64_t worst() const { return worst_; }
  uint64_t total() const { return total_; }

 private:
  static constexpr unsigned kStepBits = 6;
  static constexpr uint64_t kSteps = uint64_t{1} << kStepBits;
  static constexpr size_t kBuckets = (64 - kStepBits + 1) * kSteps;

  static size_t bucket_of(uint64_t value) {
    if (value < kSteps) return value;
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kStepBits;
    return (shift + 1) * kSteps + ((value >> shift) - kSteps);
  }

  static uint64_t upper_edge(size_t bucket) {
    if (bucket < kSteps) return bucket;
    const unsigned shift = static_cast<unsigned>(bucket / kSteps - 1);
    return ((bucket % kSteps + kSteps) << shift) + ((uint64_t{1} << shift) - 1);
  }

  uint64_t counts_[kBuckets] = {};
  uint64_t total_ = 0;
  uint64_t worst_ = 0;
};

}  // namespace bench
