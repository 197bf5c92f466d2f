// The largest of many things that are looked at one after the other. Plain memory, one thread.
#pragma once

#include <cstdint>

namespace pm {

// Keeps the `kMost` rows of greatest weight, the greatest first; of equals, the earlier.
template <typename Row, unsigned kMost>
class Largest {
 public:
  void offer(const Row& row, uint64_t weight) {
    unsigned at = count_ < kMost ? count_++ : kMost;
    if (at == kMost && weights_[--at] >= weight) return;
    for (; at > 0 && weights_[at - 1] < weight; --at) {
      rows_[at] = rows_[at - 1];
      weights_[at] = weights_[at - 1];
    }
    rows_[at] = row;
    weights_[at] = weight;
  }
  unsigned count() const { return count_; }
  const Row& operator[](unsigned i) const { return rows_[i]; }

 private:
  unsigned count_ = 0;
  Row rows_[kMost];
  uint64_t weights_[kMost];
};

}  // namespace pm
