// One series with everything that forecasts it: history, models, and for each horizon the choice among the models by
// their recent errors, the interval, and the score. Every forecast waits in a ring until its time has come and is
// judged.
#pragma once

#include <cstdint>

#include "forecast/history.h"
#include "forecast/interval.h"
#include "forecast/models.h"
#include "forecast/season.h"
#include "forecast/selector.h"

namespace pm {

// Forecasts are made and judged every so many steps; each horizon has as many slots as forecasts are under way.
inline constexpr uint32_t kJudgeEvery = 2;
constexpr uint32_t slots_of(unsigned horizon) { return kHorizonSeconds[horizon] * kStepsPerSecond / kJudgeEvery + 1; }
constexpr uint32_t first_slot_of(unsigned horizon) {
  return horizon == 0 ? 0 : first_slot_of(horizon - 1) + slots_of(horizon - 1);
}

struct Prediction {
  uint64_t bytes;      // expected
  uint64_t low, high;  // 90 % interval, calibrated online
  Model model;         // the one with the lowest recent error at this horizon
};

class Series {
 public:
  // The next step of the grid. Forecasts are judged every other step, those with an odd or an even number, so that two
  // series that take turns share the work out evenly; and at each one seen where more than one lies between.
  void step(double value, bool odd);
  // A step that nobody saw, between two samples: fills the history, judges nothing.
  void fill(double value) {
    history_.push(value);
    holt_.update(value);
    level_.update(value);
  }
  void replace_newest(double value) { history_.replace_newest(value); }
  // Nothing is known of a long stretch: the history starts anew, what was learned about errors stays.
  void forget_history();

  const History& history() const { return history_; }
  const Season& season() const { return season_; }
  // Through the last two minutes.
  const Line& line() const { return line_; }
  const Prediction& prediction(unsigned horizon) const { return horizons_[horizon].prediction; }

  // Of the forecasts that were given, decayed over ten minutes; errors are mean absolute errors in bytes.
  uint64_t judged() const { return judged_; }
  uint32_t judgements(unsigned horizon) const { return horizons_[horizon].error.count; }
  double error(unsigned horizon) const { return horizons_[horizon].error.value; }
  double naive_error(unsigned horizon) const { return horizons_[horizon].naive_error.value; }
  double coverage(unsigned horizon) const { return horizons_[horizon].coverage.value; }
  double mean_level() const { return mean_level_.value; }

 private:
  static constexpr uint32_t kEvery = kJudgeEvery;

  // What was said at one time; the slot is reused when its time is over.
  struct Pending {
    uint64_t made_at = 0;  // history's count then; 0: empty
    float models[kModels] = {};
    float expected = 0, low = 0, high = 0;
    uint32_t known = 0;  // bits of the models that had something to say
  };
  struct Horizon {
    Regression regression;
    Selector selector;
    Interval interval;
    Prediction prediction = {};
    Average error, naive_error, coverage;
  };

  Pending& pending(unsigned horizon, uint64_t made_at) {
    return pending_[first_slot_of(horizon) + made_at / kEvery % slots_of(horizon)];
  }

  void watch_surge();
  void judge(unsigned horizon, double value);
  void predict(unsigned horizon, double value, const Line& maxima);
  // What a model says, as far as it is trusted to know better than the last value without its noise.
  double from_level(unsigned horizon, Model model, double said) const;
  // The chosen model's forecast moves on with the newest value, without a new choice.
  void follow(unsigned horizon, double value);
  void announce(unsigned horizon, Model model, double expected, Pending* pending);

  History history_;
  Season season_;
  Holt holt_;
  Level level_;
  Line line_;
  Horizon horizons_[kHorizons];
  Average mean_level_;
  // By how much values have lately left the band of the nearest horizon, fading: bands further ahead, whose own misses
  // are still to come, are widened by it.
  double above_ = 0, below_ = 0;
  // Bytes a step that the last seconds moved by, evenly, if they have not moved so much before; else 0. Errors will
  // tell of such a surge when forecasts come due; until then bands reach as far as it would lead.
  double surge_ = 0;
  Ring<32> moves_;  // the largest of each block: how far, either way, so many seconds have moved
  double block_move_ = 0;
  uint64_t judged_ = 0;
  uint64_t predicted_at_ = 0;  // history's count at the last forecast with a choice of its own
  Pending pending_[first_slot_of(kHorizons)];
};

}  // namespace pm
