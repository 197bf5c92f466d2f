// Finds the period of a series, a slice of lags per step, and forecasts by it.
//
// For every lag it keeps the mean and the variance of x(t) - x(t - lag), forgetting slowly. The mean is the drift of
// one such lag; the variance stands for 1 - autocorrelation: it is twice the series' own variance where the lag means
// nothing, and near zero at the period. Divided by its own average over all shorter lags it needs no estimate of the
// series' variance, which a leak or a random walk would swell: 1 minus that ratio is the peak that must exceed 0.6.
#pragma once

#include <cstdint>

#include "forecast/history.h"

namespace pm {

class Season {
 public:
  static constexpr uint32_t kLags = 1000;  // the longest, in steps; two periods must be seen before one is believed
  static constexpr uint32_t kSlices = 5;
  static constexpr uint32_t kMostUsed = 5;  // lags that make one forecast

  // One step has been pushed to the history.
  void update(const History& history);
  void clear() { renew(*this); }

  uint32_t period() const { return period_; }  // in steps; 0: none found
  // The value at the horizon. Only with a period.
  double forecast(const History& history, unsigned horizon) const;
  // Growth over one step: that of a period, spread over it. Only with a period.
  double drift() const { return growth(period_) / period_; }
  // The horizon is a whole number of periods: then the forecast is the last value, with less noise.
  bool refines_last_value(unsigned horizon) const {
    return lag_counts_[horizon] > 0 && lags_[horizon][0] == steps_ahead(horizon);
  }
  // The error to be expected of a forecast so far ahead (mean absolute), before any has been judged.
  double expected_error(unsigned horizon) const;

 private:
  static constexpr uint32_t kSliceLags = kLags / kSlices;

  void learn(const History& history, uint32_t first, float* variances);
  void look_for_valley(uint32_t first, const float* variances);
  void finish_sweep(const History& history);
  bool is_learned(uint32_t lag) const;
  double variance(uint32_t lag) const;
  // Mean of x(t) - x(t - lag), as far as it is more than chance.
  double growth(uint32_t lag) const;
  void choose_lags();

  float means_[kLags + 1] = {};
  float squares_[kLags + 1] = {};
  float counts_[kLags + 1] = {};  // pairs, up to as many as are remembered

  uint32_t slice_ = 0;
  bool pause_next_ = false;
  // Of the sweep under way: the sum of variances so far, the valley the sweep is in or has left.
  double variance_sum_ = 0;
  double valley_ratio_ = 0;
  uint32_t valley_lag_ = 0;
  bool valley_left_ = false;
  bool ended_ = false;

  uint32_t period_ = 0;
  double swing_ = 0;  // standard deviation of the season
  // For each horizon, lags of whole periods that reach beyond it, the shortest first.
  uint16_t lags_[kHorizons][kMostUsed] = {};
  uint8_t lag_counts_[kHorizons] = {};
  uint32_t learned_ = 0;  // lags known at the last sweep
  uint32_t misses_ = 0;   // sweeps since the period was last confirmed
};

}  // namespace pm
