// One series on a fixed grid: the last 512 s in steps of half a second, maxima of 30 s blocks for two hours, of ten
// minutes for a day. Pure memory; who forecasts reads it. Values are floats: 24 bits tell the sizes of a heap well
// apart.
#pragma once

#include <cstdint>

#include "forecast/horizons.h"
#include "forecast/numbers.h"

namespace pm {

// The last N values of something; older ones are overwritten. Lies newest first, so that ages rise with addresses.
template <uint32_t N>
class Ring {
  static_assert((N & (N - 1)) == 0);

 public:
  void push(double value) {
    ++count_;
    set_newest(value);
  }
  void set_newest(double value) { values_[newest()] = static_cast<float>(value); }
  // `age` steps before the newest; age < size().
  float at(uint32_t age) const { return values_[(newest() + age) & (N - 1)]; }
  // Values of ages from `age` on lie side by side from here, `length` of them at most; shortens `length` to how many
  // do.
  const float* run(uint32_t age, uint32_t* length) const {
    const uint32_t place = (newest() + age) & (N - 1);
    if (*length > N - place) *length = N - place;
    return values_ + place;
  }
  uint32_t size() const { return count_ < N ? static_cast<uint32_t>(count_) : N; }
  uint64_t count() const { return count_; }
  void clear() { count_ = 0; }

 private:
  uint32_t newest() const { return static_cast<uint32_t>(0 - count_) & (N - 1); }

  float values_[N] = {};
  uint64_t count_ = 0;  // ever pushed
};

class History {
 public:
  static constexpr uint32_t kSteps = 1024;
  static constexpr uint32_t kBlockSteps = 30 * kStepsPerSecond;
  static constexpr uint32_t kBlocksPerLongBlock = 20;

  void push(double value);
  // A second sample within the newest step: the later one counts, block maxima keep the larger.
  void replace_newest(double value);
  void clear();

  uint32_t size() const { return steps_.size(); }
  uint64_t count() const { return steps_.count(); }
  // Between the smallest and the largest value since the start.
  double range() const { return steps_.count() == 0 ? 0 : most_ - least_; }
  float at(uint32_t age) const { return steps_.at(age); }

  // Copies `count` values, that of age `age` first.
  void copy(uint32_t age, uint32_t count, float* to) const;

  // Finished blocks only, the newest first.
  const Ring<256>& blocks() const { return blocks_; }
  const Ring<128>& long_blocks() const { return long_blocks_; }

  // The largest of `length` steps, the newest of which is `age` old; all of them must be in reach.
  double largest(uint32_t age, uint32_t length) const;
  double smallest(uint32_t age, uint32_t length) const;
  // The largest, of which blocks may stand for what steps no longer reach; 0 if neither does.
  double peak(uint32_t age, uint32_t length) const;
  // The largest value older than `age` steps, as far back as memory reaches; 0 if there is none.
  double largest_before(uint32_t age) const;

 private:
  Ring<kSteps> steps_;
  Ring<256> blocks_;
  Ring<128> long_blocks_;
  double least_ = 0, most_ = 0;  // since the start
  double block_max_ = 0;         // of the block that is not finished
  double long_block_max_ = 0;    // of the finished blocks of the long block that is not
  uint32_t block_steps_ = 0;
  uint32_t long_block_blocks_ = 0;
};

}  // namespace pm
