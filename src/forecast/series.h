// One series with everything that forecasts it: history, models, and for each horizon the choice among the models by
// their recent errors, the interval, and the score. Every forecast waits in a ring until its time has come and is
// judged.
#pragma once

#include <cstdint>

#include "forecast/history.h"
#include "forecast/interval.h"
#include "forecast/models.h"
#include "forecast/season.h"

namespace pm {

inline constexpr unsigned kHorizons = 3;
inline constexpr uint32_t kHorizonSeconds[kHorizons] = {30, 60, 120};
inline constexpr uint32_t kNever = UINT32_MAX;

enum class Model : uint8_t { naive, holt, least_squares, block_maxima, seasonal, regression };
inline constexpr unsigned kModels = 6;

struct Prediction {
  uint64_t bytes;      // expected
  uint64_t low, high;  // 90 % interval, calibrated online
  Model model;         // the one with the lowest recent error at this horizon
};

class Series {
 public:
  // The next step of the grid.
  void step(double value);
  // A step that nobody saw, between two samples: fills the history, judges nothing.
  void fill(double value) { history_.push(value); }
  void replace_newest(double value) { history_.replace_newest(value); }
  // Nothing is known of a long stretch: the history starts anew, what was learned about errors stays.
  void forget_history();

  const History& history() const { return history_; }
  const Season& season() const { return season_; }
  const Prediction& prediction(unsigned horizon) const { return predictions_[horizon]; }

  uint64_t judged() const { return judged_; }
  // Mean absolute errors, decayed over ten minutes, in bytes; of the forecasts that were given, and of the last value.
  double error(unsigned horizon) const { return scores_[horizon].error.value; }
  double naive_error(unsigned horizon) const { return scores_[horizon].naive_error.value; }
  double coverage(unsigned horizon) const { return scores_[horizon].coverage.value; }
  double mean_level() const { return level_.value; }
  uint32_t judgements(unsigned horizon) const { return scores_[horizon].error.count; }

 private:
  // Forecasts are made and judged once a second, every other step.
  static constexpr uint32_t kEvery = 2;
  static constexpr uint32_t kSlots = 120;

  // What was said at one time for one horizon; the naive forecast is in the history.
  struct Pending {
    uint64_t made_at;       // history's count then; 0: empty
    float models[kModels];  // by Model; NaN-free: `known` says which there were
    float chosen, low, high;
    uint32_t known;
  };
  struct Score {
    Average error, naive_error, coverage;
  };

  void judge(unsigned horizon, double value);
  void predict(unsigned horizon, double value, const Line& line, uint32_t line_length);
  void choose(unsigned horizon, uint32_t known);

  History history_;
  Season season_;
  Holt holt_;
  Regression regressions_[kHorizons];
  Interval intervals_[kHorizons];
  Average errors_[kHorizons][kModels];  // recent, for the choice
  Model chosen_[kHorizons] = {};
  Prediction predictions_[kHorizons] = {};
  Pending pending_[kHorizons][kSlots] = {};
  Score scores_[kHorizons];
  Average level_;
  uint64_t judged_ = 0;
};

}  // namespace pm
