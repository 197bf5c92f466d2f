#include "forecast/history.h"

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

double History::largest(uint32_t age, uint32_t length) const {
  // Four at a time: one chain of comparisons would wait for itself.
  float most[4] = {};
  const auto take = [](float& current, float value) { current = value > current ? value : current; };
  uint32_t i = 0;
  for (; i + 4 <= length; i += 4) {
    for (uint32_t lane = 0; lane < 4; ++lane) take(most[lane], steps_.at(age + i + lane));
  }
  for (; i < length; ++i) take(most[0], steps_.at(age + i));
  for (uint32_t lane = 1; lane < 4; ++lane) take(most[0], most[lane]);
  return most[0];
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
