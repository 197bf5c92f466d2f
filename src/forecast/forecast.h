// Forecasts of demand and of the limit's usage from samples: pure arithmetic. No clock, file, thread, atomic or libm.
// Invariants: memory is fixed (sizeof(Forecaster)), nothing is allocated, add() does a bounded amount of work whatever
// the samples hold, and no sample is refused: what makes no sense is passed over. All zeros is a valid, fresh
// Forecaster but for its options. Synchronised by its owner: one thread at a time.
#pragma once

#include "forecast/limit_watch.h"
#include "forecast/rates.h"
#include "forecast/sample.h"
#include "forecast/series.h"

namespace pm {

enum class Trend : uint8_t { falling, stable, rising, critical };

// How good the forecasts have been, for the metrics. Of demand; alarms are of usage against the limit.
struct ForecastScore {
  uint64_t judged;                           // predictions that came due
  uint32_t error_permille[kHorizons];        // mean absolute error over the mean level, decayed
  uint32_t naive_error_permille[kHorizons];  // the same of "the last value"
  uint32_t coverage_permille[kHorizons];     // share of actual values inside the interval, decayed
  uint64_t alarms, true_alarms, false_alarms;
};

struct Forecast {
  Prediction demand[kHorizons];  // of HeapFigures::used_bytes
  Prediction usage[kHorizons];   // of Sample::usage_bytes
  uint32_t confidence_permille;  // 0: knows nothing yet
  Trend trend;
  bool alarm;  // usage is predicted to meet the limit within a minute; with hysteresis
  // Until usage meets the limit, in seconds; earliest and latest are the error band. kNever if not in sight.
  uint32_t seconds_to_limit, earliest_seconds, latest_seconds;
  int64_t growth_bytes_per_second;  // of usage (of demand while usage is unknown), smoothed over its seasons
  uint64_t allocation_bytes_per_second, free_bytes_per_second;  // now
  uint64_t allocation_forecast, free_forecast;                  // the same at 60 s
  uint32_t season_seconds;                                      // of demand: the period found, 0 if none
  ForecastScore score;
};

struct ForecastOptions {
  uint32_t critical_seconds = 60;  // time to limit below which the trend is critical
  uint32_t stable_permille = 20;   // growth per minute, of the level, that still counts as stable
};

class Forecaster {
 public:
  void configure(const ForecastOptions& options) { options_ = options; }

  // O(1), at most a few microseconds. Tolerates irregular spacing, gaps, clocks that jump, limits that change.
  void add(const Sample& sample);

  const Forecast& current() const { return forecast_; }

  // Forgets all but the options: in a forked child, whose memory goes its own way from here.
  void reset();

 private:
  // What a new sample means for the grid: how many steps it opens, or that history breaks here.
  struct Steps {
    uint32_t count;
    bool broken;
  };
  Steps advance(uint64_t time_ns);
  void summarize(const Sample& sample);
  Trend trend_of(double growth, double level) const;

  ForecastOptions options_;
  Forecast forecast_ = {};
  Series demand_;
  Series usage_;
  LimitWatch watch_;
  Rates rates_;
  uint64_t last_time_ns_ = 0;
  uint64_t into_step_ns_ = 0;  // how far the last sample lies into its step
  bool started_ = false;
};

}  // namespace pm
