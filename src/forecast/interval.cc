#include "forecast/interval.h"

#include "forecast/numbers.h"

namespace pm {

void Interval::judge(double error, bool below, bool above, uint32_t every) {
  low_share_ = clamp(low_share_ + kStep * (kShare - (below ? 1 : 0)), -2 * kShare, 2 * kShare);
  high_share_ = clamp(high_share_ + kStep * (kShare - (above ? 1 : 0)), -2 * kShare, 2 * kShare);
  // An error far beyond the usual ones, after a change of the series, is not to make a band of its own later on.
  const double sizes = clamp(error / larger(size_.value, 1), -kMostSizes, kMostSizes);
  if (judged_ % every == 0) keep(static_cast<float>(sizes));
  size_.add(absolute(error), kSizeMemory);
  if (judged_ < UINT32_MAX) ++judged_;
}

void Interval::keep(float error) {
  uint32_t place = count_;
  if (count_ == kErrors) {
    // The oldest leaves; what stood above it moves down.
    const float oldest = in_order_[next_];
    place = 0;
    while (place < kErrors - 1 && sorted_[place] < oldest) ++place;
    for (; place + 1 < kErrors; ++place) sorted_[place] = sorted_[place + 1];
  } else {
    ++count_;
  }
  for (; place > 0 && sorted_[place - 1] > error; --place) sorted_[place] = sorted_[place - 1];
  sorted_[place] = error;
  in_order_[next_] = error;
  next_ = (next_ + 1) % kErrors;
}

double Interval::edge(double share, bool upper) const {
  if (count_ == 0) return 0;
  const double least = sorted_[0];
  const double most = sorted_[count_ - 1];
  const double left_out = share + kShare;
  if (left_out < 0) {
    // Beyond every error: by so much of the whole width.
    const double more = -left_out / kShare * 0.5 * (most - least);
    return upper ? most + more : least - more;
  }
  const double place = left_out * (count_ - 1);
  const auto whole = static_cast<uint32_t>(place);
  const double part = place - whole;
  const uint32_t next = whole + 1 < count_ ? whole + 1 : whole;
  if (upper) return sorted_[count_ - 1 - whole] * (1 - part) + sorted_[count_ - 1 - next] * part;
  return sorted_[whole] * (1 - part) + sorted_[next] * part;
}

}  // namespace pm
