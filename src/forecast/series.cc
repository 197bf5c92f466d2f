#include "forecast/series.h"

namespace pm {

namespace {

constexpr uint32_t kErrorMemory = 240;  // judgements, of one a second, that choose the model
constexpr uint32_t kScoreMemory = 600;
constexpr uint32_t kLeastJudged = 20;  // before a model may be chosen
// How much better than the last value a model must have been, and than the model now chosen: a choice by a lucky streak
// costs more than it gains.
constexpr double kBetterThanNaive = 0.93;
constexpr double kBetterThanChosen = 0.95;
constexpr uint32_t kLineLeast = 20;

constexpr uint32_t bit(Model model) { return 1U << static_cast<unsigned>(model); }
constexpr unsigned index(Model model) { return static_cast<unsigned>(model); }

}  // namespace

void Series::forget_history() {
  history_.clear();
  season_.clear();
  holt_.clear();
  for (auto& slots : pending_) {
    for (Pending& pending : slots) pending.made_at = 0;
  }
}

void Series::step(double value) {
  history_.push(value);
  holt_.update(value);
  season_.update(history_);
  level_.add(value, kScoreMemory * kEvery);
  if (history_.count() % kEvery != 0) return;

  uint32_t line_length = 0;
  const Line line = least_squares(history_, &line_length);
  for (unsigned horizon = 0; horizon < kHorizons; ++horizon) {
    judge(horizon, value);
    predict(horizon, value, line, line_length);
  }
}

void Series::judge(unsigned horizon, double value) {
  const uint32_t ahead = kHorizonSeconds[horizon] * kStepsPerSecond;
  const uint64_t made_at = history_.count() - ahead;
  if (history_.count() <= ahead) return;
  const Pending& pending = pending_[horizon][made_at / kEvery % kSlots];
  if (pending.made_at != made_at) return;

  for (unsigned model = 0; model < kModels; ++model) {
    if (pending.known >> model & 1) errors_[horizon][model].add(absolute(value - pending.models[model]), kErrorMemory);
  }
  const double naive = pending.models[index(Model::naive)];
  regressions_[horizon].update(naive, value);
  const bool below = value < pending.low;
  const bool above = value > pending.high;
  intervals_[horizon].judge(value - pending.chosen, below, above);
  Score& score = scores_[horizon];
  score.error.add(absolute(value - pending.chosen), kScoreMemory);
  score.naive_error.add(absolute(value - naive), kScoreMemory);
  score.coverage.add(below || above ? 0 : 1, kScoreMemory);
  ++judged_;
}

void Series::choose(unsigned horizon, uint32_t known) {
  const Average* errors = errors_[horizon];
  Model best = Model::naive;
  double least = errors[index(Model::naive)].value * kBetterThanNaive;
  const Model now = chosen_[horizon];
  for (unsigned model = 1; model < kModels; ++model) {
    if (!(known >> model & 1) || errors[model].count < kLeastJudged) continue;
    const double error = errors[model].value * (model == index(now) ? kBetterThanChosen : 1);
    if (error < least) {
      least = error;
      best = static_cast<Model>(model);
    }
  }
  chosen_[horizon] = best;
}

void Series::predict(unsigned horizon, double value, const Line& line, uint32_t line_length) {
  const uint32_t ahead = kHorizonSeconds[horizon] * kStepsPerSecond;
  Pending& pending = pending_[horizon][history_.count() / kEvery % kSlots];
  pending.made_at = history_.count();
  pending.known = bit(Model::naive) | bit(Model::holt);
  const auto say = [&](Model model, double forecast) {
    pending.models[index(model)] = static_cast<float>(clamp(forecast, 0, kMostBytes));
    pending.known |= bit(model);
  };
  say(Model::naive, value);
  say(Model::holt, holt_.forecast(ahead));
  if (line_length >= kLineLeast) say(Model::least_squares, line.at(static_cast<double>(line_length - 1 + ahead)));
  if (history_.size() >= 2 * History::kBlockSteps) say(Model::block_maxima, block_maxima_forecast(history_, ahead));
  if (regressions_[horizon].is_ready()) say(Model::regression, regressions_[horizon].forecast(value));
  if (season_.period() != 0) {
    say(Model::seasonal, season_.forecast(history_, ahead));
    // A period found is worth using at once: what its lag says about the error stands in for judgements.
    Average& error = errors_[horizon][index(Model::seasonal)];
    if (error.count < kLeastJudged) error = {season_.expected_error(ahead), kLeastJudged};
  }
  choose(horizon, pending.known);

  const Model chosen = chosen_[horizon];
  const double expected = pending.models[index(chosen)];
  const Interval& interval = intervals_[horizon];
  pending.chosen = static_cast<float>(expected);
  pending.low = static_cast<float>(larger(0, expected + interval.low()));
  pending.high = static_cast<float>(clamp(expected + interval.high(), 0, kMostBytes));
  predictions_[horizon] = {double_as_bytes(expected), double_as_bytes(pending.low), double_as_bytes(pending.high),
                           chosen};
}

}  // namespace pm
