#include "forecast/history.h"

#include <cstring>

#include "forecast/lanes.h"

namespace pm {

void History::push(double value) {
  if (block_steps_ == kBlockSteps) {
    blocks_.push(block_max_);
    long_block_max_ = larger(long_block_max_, block_max_);
    block_steps_ = 0;
    block_max_ = 0;
    if (++long_block_blocks_ == kBlocksPerLongBlock) {
      long_blocks_.push(long_block_max_);
      long_block_blocks_ = 0;
      long_block_max_ = 0;
    }
  }
  if (steps_.count() == 0) least_ = most_ = value;
  least_ = smaller(least_, value);
  most_ = larger(most_, value);
  steps_.push(value);
  block_max_ = larger(block_max_, value);
  ++block_steps_;
}

void History::replace_newest(double value) {
  if (steps_.size() == 0) return;
  steps_.set_newest(value);
  block_max_ = larger(block_max_, value);
}

void History::clear() {
  steps_.clear();
  blocks_.clear();
  long_blocks_.clear();
  block_max_ = long_block_max_ = 0;
  block_steps_ = long_block_blocks_ = 0;
}

void History::copy(uint32_t age, uint32_t count, float* to) const {
  while (count > 0) {
    uint32_t length = count;
    const float* from = steps_.run(age, &length);
    std::memcpy(to, from, length * sizeof(float));
    age += length;
    to += length;
    count -= length;
  }
}

double History::largest(uint32_t age, uint32_t length) const {
  float most = 0;
  while (length > 0) {
    uint32_t run = length;
    const float* values = steps_.run(age, &run);
    age += run;
    length -= run;
    Lanes lanes = all_lanes(most);
    for (; run >= kLanes; run -= kLanes, values += kLanes) lanes = larger(lanes, load_lanes(values));
    for (uint32_t i = 0; i < kLanes; ++i) most = lanes[i] > most ? lanes[i] : most;
    for (; run > 0; --run, ++values) most = *values > most ? *values : most;
  }
  return most;
}

double History::smallest(uint32_t age, uint32_t length) const {
  float least = at(age);
  while (length > 0) {
    uint32_t run = length;
    const float* values = steps_.run(age, &run);
    age += run;
    length -= run;
    Lanes lanes = all_lanes(least);
    for (; run >= kLanes; run -= kLanes, values += kLanes) lanes = smaller(lanes, load_lanes(values));
    for (uint32_t i = 0; i < kLanes; ++i) least = lanes[i] < least ? lanes[i] : least;
    for (; run > 0; --run, ++values) least = *values < least ? *values : least;
  }
  return least;
}

double History::peak(uint32_t age, uint32_t length) const {
  if (age + length <= size()) return largest(age, length);
  double most = 0;
  for (uint32_t i = age / kBlockSteps; i <= (age + length) / kBlockSteps && i < blocks_.size(); ++i) {
    most = larger(most, blocks_.at(i));
  }
  return most;
}

double History::largest_before(uint32_t age) const {
  // Blocks that end before that age: the unfinished one and those that reach into it are passed over.
  const uint32_t skipped = age <= block_steps_ ? 0 : (age - block_steps_ + kBlockSteps - 1) / kBlockSteps;
  double most = 0;
  for (uint32_t i = skipped; i < blocks_.size(); ++i) most = larger(most, blocks_.at(i));
  for (uint32_t i = skipped / kBlocksPerLongBlock + 1; i < long_blocks_.size(); ++i) {
    most = larger(most, long_blocks_.at(i));
  }
  return most;
}

}  // namespace pm
