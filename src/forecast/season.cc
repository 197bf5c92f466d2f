#include "forecast/season.h"

#include "forecast/lanes.h"

namespace pm {

namespace {

constexpr uint32_t kShortestPeriod = 4;
constexpr double kRatioBound = 0.4;        // 1 - 0.6
constexpr double kChance = 2;              // standard errors that a ratio of few pairs is held to
constexpr double kValleyRim = 0.15;        // a valley is over when the ratio has risen so much above its floor
constexpr double kLeastAmplitude = 0.002;  // of the level: smaller seasons are noise to a heap
constexpr float kLeastPairs = 24;
constexpr float kStepsPerPair = 5.5;  // a slice comes round every five or six steps
constexpr double kPeaksApart = 2;     // in swings: more between two periods' peaks is another event
constexpr double kClearly = 0.85;     // a lag beside the expected one must be better than by chance
constexpr uint32_t kMissesForgiven = 8;
constexpr double kAgreement = 0.5;  // of the swing: values nearer than this tell of the same phase

// How many pairs a lag remembers: those of twice its own length, and of two minutes at least.
constexpr float kShortMemory = 44;

}  // namespace

bool Season::is_learned(uint32_t lag) const {
  return counts_[lag] >= kLeastPairs && counts_[lag] * kStepsPerPair >= static_cast<float>(lag);
}

double Season::variance(uint32_t lag) const {
  const double mean = means_[lag];
  return larger(0.0, squares_[lag] - mean * mean);
}

double Season::growth(uint32_t lag) const {
  const double mean = means_[lag];
  const double chance = variance(lag) / (1.0 + static_cast<double>(counts_[lag]));
  return mean * mean > chance ? mean * (1 - chance / (mean * mean)) : 0;
}

void Season::update(const History& history) {
  // A pause every other sweep, so that no period is in step with the slices.
  if (slice_ == kSlices) {
    slice_ = 0;
    if (pause_next_) {
      pause_next_ = false;
      return;
    }
    pause_next_ = true;
  }
  const uint32_t first = slice_ * kSliceLags + 1;
  float variances[kSliceLags] = {};
  ++slice_;
  if (slice_ == 1) {
    variance_sum_ = valley_ratio_ = 0;
    valley_lag_ = 0;
    valley_left_ = ended_ = false;
  }
  learn(history, first, variances);
  look_for_valley(first, variances);
  if (slice_ == kSlices) finish_sweep(history);
}

void Season::learn(const History& history, uint32_t first, float* variances) {
  const uint32_t reach = history.size();
  if (first >= reach) return;
  const uint32_t count = reach - first < kSliceLags ? reach - first : kSliceLags;
  float then[kSliceLags];
  history.copy(first, count, then);
  // The last few lags of a history that does not reach through the slice wait until it does.
  const Lanes now = all_lanes(history.at(0));
  const Lanes one = all_lanes(1);
  Lanes lags = all_lanes(static_cast<float>(first)) + Lanes{0, 1, 2, 3};
  for (uint32_t i = 0; i + kLanes <= count; i += kLanes, lags += all_lanes(kLanes)) {
    const uint32_t lag = first + i;
    const Lanes memory = larger(all_lanes(kShortMemory), lags * all_lanes(2 / kStepsPerPair));
    const Lanes pairs = smaller(load_lanes(counts_ + lag) + one, memory);
    const Lanes share = one / pairs;
    const Lanes difference = now - load_lanes(then + i);
    Lanes mean = load_lanes(means_ + lag);
    Lanes square = load_lanes(squares_ + lag);
    mean += (difference - mean) * share;
    square += (difference * difference - square) * share;
    store_lanes(pairs, counts_ + lag);
    store_lanes(mean, means_ + lag);
    store_lanes(square, squares_ + lag);
    store_lanes(larger(all_lanes(0), square - mean * mean), variances + i);
  }
}

void Season::look_for_valley(uint32_t first, const float* variances) {
  if (ended_) return;
  // Short lags are learned before long ones, so that the last one mostly speaks for all.
  uint32_t end = first + kSliceLags;
  if (!is_learned(end - 1)) {
    ended_ = true;
    for (end = first; is_learned(end);) ++end;
  }
  uint32_t lag = first;
  for (; lag < end && !valley_left_; ++lag) {
    const double here = variances[lag - first];
    variance_sum_ += here;
    // The ratio is here * lag / variance_sum_; mostly it is far from the bound, and not worth a division.
    const double scaled = here * lag;
    if (lag < kShortestPeriod) continue;
    if (scaled < kRatioBound * variance_sum_ && (valley_lag_ == 0 || scaled < valley_ratio_ * variance_sum_)) {
      const double ratio = scaled / variance_sum_;
      const double pairs = counts_[lag];
      const double periods = pairs * kStepsPerPair / lag;
      if (ratio < kRatioBound * (1 - kChance / square_root(pairs)) * (1 - 0.5 / periods)) {
        valley_ratio_ = ratio;
        valley_lag_ = lag;
      }
    } else if (valley_lag_ != 0 && scaled > (valley_ratio_ + kValleyRim) * variance_sum_) {
      valley_left_ = true;
    }
  }
  for (; lag < end; ++lag) variance_sum_ += static_cast<double>(variances[lag - first]);
  if (end > first) learned_ = end - 1;
}

void Season::finish_sweep(const History& history) {
  const double swing = learned_ > 0 ? square_root(variance_sum_ / learned_ / 2) : 0;
  bool found = valley_left_ && swing >= history.at(0) * kLeastAmplitude;
  if (found) {
    // What happened once is no season: the last two periods must reach as high.
    const double last = history.peak(0, valley_lag_);
    const double before = history.peak(valley_lag_, valley_lag_);
    // And what has stopped is none either, though lags remember it for long.
    const double moved = last - history.smallest(0, valley_lag_);
    found = absolute(last - before - growth(valley_lag_)) <= kPeaksApart * swing && moved >= swing;
  }
  if (found) {
    period_ = valley_lag_;
    swing_ = swing;
    misses_ = 0;
    choose_lags();
  } else if (period_ != 0 && ++misses_ > kMissesForgiven) {
    period_ = 0;
  }
}

void Season::choose_lags() {
  for (uint8_t& count : lag_counts_) count = 0;
  // From period to period, each time to the best lag nearby: so a period that is no whole number of steps stays true.
  const uint32_t slack = 1 + period_ / 32;
  for (uint32_t lag = period_;;) {
    bool wanted = false;
    for (unsigned horizon = 0; horizon < kHorizons; ++horizon) {
      uint8_t& count = lag_counts_[horizon];
      // A lag that falls a little short of the horizon is taken for one that reaches it.
      const uint32_t ahead = steps_ahead(horizon);
      const uint32_t reaching = lag + slack >= ahead && lag < ahead ? ahead : lag;
      if (reaching >= ahead && count < kMostUsed) lags_[horizon][count++] = static_cast<uint16_t>(reaching);
      wanted |= count < kMostUsed;
    }
    const uint32_t next = lag + period_;
    if (!wanted || next + slack > learned_) return;
    lag = next;
    for (uint32_t near = next - slack; near <= next + slack; ++near) {
      if (variance(near) < kClearly * variance(lag)) lag = near;
    }
  }
}

double Season::forecast(const History& history, unsigned horizon) const {
  const uint32_t ahead = steps_ahead(horizon);
  const uint32_t count = lag_counts_[horizon];
  const auto value_of = [&](uint32_t lag) { return history.at(lag - ahead) + growth(lag); };
  if (count == 0 || lags_[horizon][count - 1] - ahead >= history.size()) {
    // Further ahead than any lag that is known yet: the last period again, and its drift as often as needed.
    const uint32_t times = (ahead + period_ - 1) / period_;
    const uint32_t age = times * period_ - ahead;
    return history.at(age < history.size() ? age : 0) + times * growth(period_);
  }
  // The nearest in time knows best where in its period the series is; those that agree with it take out the noise.
  const double first = value_of(lags_[horizon][0]);
  double sum = first;
  uint32_t agreeing = 1;
  for (uint32_t i = 1; i < count; ++i) {
    const double value = value_of(lags_[horizon][i]);
    if (absolute(value - first) > kAgreement * swing_) continue;
    sum += value;
    ++agreeing;
  }
  return sum / agreeing;
}

double Season::expected_error(unsigned horizon) const {
  return 0.8 * square_root(variance(lag_counts_[horizon] == 0 ? period_ : lags_[horizon][0]));
}

}  // namespace pm
