// Forecasts of demand and of the limit's usage from samples: pure arithmetic. No clock, file, thread, atomic or libm.
#pragma once

#include "forecast/sample.h"

namespace pm {

inline constexpr unsigned kHorizons = 3;
inline constexpr uint32_t kHorizonSeconds[kHorizons] = {30, 60, 120};
inline constexpr uint32_t kNever = UINT32_MAX;

enum class Model : uint8_t { naive, holt, least_squares, block_maxima, seasonal };
enum class Trend : uint8_t { falling, stable, rising, critical };

struct Prediction {
  uint64_t bytes;      // expected
  uint64_t low, high;  // 90 % interval, calibrated online
  Model model;         // the one with the lowest recent error at this horizon
};

// How good the forecasts have been, for the metrics.
struct ForecastScore {
  uint64_t judged;                           // predictions that came due
  uint32_t error_permille[kHorizons];        // mean absolute error over the mean level, decayed
  uint32_t naive_error_permille[kHorizons];  // the same of "the last value"
  uint32_t coverage_permille[kHorizons];     // share of actual values inside the interval
  uint64_t alarms, true_alarms, false_alarms;
};

struct Forecast {
  Prediction demand[kHorizons];  // of HeapFigures::used_bytes
  Prediction usage[kHorizons];   // of Sample::usage_bytes
  uint32_t confidence_permille;  // 0: knows nothing yet
  Trend trend;
  // Until usage meets the limit, in seconds; earliest and latest are the error band. kNever if not in sight.
  uint32_t seconds_to_limit, earliest_seconds, latest_seconds;
  int64_t growth_bytes_per_second;                              // of usage, smoothed
  uint64_t allocation_bytes_per_second, free_bytes_per_second;  // now
  uint64_t allocation_forecast, free_forecast;                  // the same at 60 s
  ForecastScore score;
};

struct ForecastOptions {      // thresholds are options of the library
  uint32_t critical_seconds;  // time to limit below which the trend is critical
  uint32_t stable_permille;   // growth per minute, of the level, that still counts as stable
};

class Forecaster {
 public:
  void configure(const ForecastOptions&);
  void add(const Sample& sample);  // O(1), at most a few microseconds; tolerates irregular spacing, gaps, clocks that
                                   // jump, changing limits
  const Forecast& current() const;
};

}  // namespace pm
