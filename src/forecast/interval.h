// The band around a forecast that nine in ten actual values fall into. Its edges are quantiles of the recent errors,
// each taken in units of what errors were usually like when it came, and given in units of what they are like now:
// forecasts get better and worse, and what was kept would speak of an older series for long. Which quantiles is adapted
// online, each side for itself: errors of overlapping forecasts come in clusters, so that the plain 5 % and 95 %
// quantiles of a few hundred would cover too little.
#pragma once

#include <cstdint>

#include "forecast/numbers.h"

namespace pm {

class Interval {
 public:
  // A forecast with this error (actual less forecast) came due; below and above say on which side of its band it fell.
  // One in `every` errors is kept: those of overlapping forecasts are nearly the same.
  void judge(double error, bool below, bool above, uint32_t every);

  // Enough errors are known for the edges to mean something: as many as forecasts overlap, or all are of one event.
  bool is_ready(uint32_t overlap) const { return judged_ >= kLeastErrors && judged_ >= overlap; }
  // Of the error: what to add to a forecast.
  double low() const { return edge(low_share_, false) * larger(size_.value, 1); }
  double high() const { return edge(high_share_, true) * larger(size_.value, 1); }

 private:
  static constexpr uint32_t kErrors = 128;
  static constexpr uint32_t kLeastErrors = 40;
  // Of errors left out on each side. A little less than half of what a 90 % band leaves out: a change of the series
  // always costs misses that no band foresees.
  static constexpr double kShare = 0.04;
  static constexpr double kStep = 0.005;
  static constexpr double kMostSizes = 5;
  static constexpr uint32_t kSizeMemory = 150;  // judgements

  void keep(float error);
  double edge(double share, bool upper) const;

  Average size_;  // of errors: mean absolute
  float sorted_[kErrors] = {};
  float in_order_[kErrors] = {};
  uint32_t count_ = 0;
  uint32_t next_ = 0;
  uint32_t judged_ = 0;
  // The share of errors to leave out on each side, less kShare: zero-initialised. May fall below none: then the band is
  // wider than every error seen.
  double low_share_ = 0, high_share_ = 0;
};

}  // namespace pm
