#include "forecast/series.h"

namespace pm {

namespace {

constexpr uint32_t kScoreMemory = 600;  // judgements, of one a second
constexpr uint32_t kLineLeast = 20;
constexpr uint32_t kErrorsPerHorizon = 10;  // kept of the judgements that a forecast spans
constexpr double kFading = 0.97;            // of a miss, from one judgement to the next
constexpr uint32_t kSurgeSteps = 10 * kStepsPerSecond;
constexpr uint32_t kSurgeBlocks = 2;  // the latest moves are not what was usual before
constexpr uint32_t kLeastBlocks = 2;  // that must have been seen before
constexpr double kSurgeReach = 1.1;
constexpr double kEvenly = 0.3;  // of a move, that each half of it is at least

}  // namespace

void Series::forget_history() {
  history_.clear();
  season_.clear();
  holt_.clear();
  level_.clear();
  line_ = {};
  predicted_at_ = 0;
  surge_ = block_move_ = 0;
  moves_.clear();
  for (Pending& one : pending_) one.made_at = 0;
}

void Series::step(double value, bool odd) {
  history_.push(value);
  holt_.update(value);
  level_.update(value);
  season_.update(history_);
  mean_level_.add(value, kScoreMemory * kEvery);
  watch_surge();
  const bool turn = (history_.count() % kEvery != 0) == odd;
  if (!turn && history_.count() - predicted_at_ < kEvery) {
    for (unsigned horizon = 0; horizon < kHorizons; ++horizon) follow(horizon, value);
    return;
  }
  predicted_at_ = history_.count();
  line_ = recent_line(history_);
  const Line maxima = maxima_line(history_);
  for (unsigned horizon = 0; horizon < kHorizons; ++horizon) {
    judge(horizon, value);
    predict(horizon, value, maxima);
  }
}

void Series::watch_surge() {
  surge_ = 0;
  if (history_.size() <= kSurgeSteps) return;
  const double now = history_.at(0);
  const double middle = history_.at(kSurgeSteps / 2);
  const double move = now - static_cast<double>(history_.at(kSurgeSteps));
  block_move_ = larger(block_move_, absolute(move));
  if (history_.count() % History::kBlockSteps == 0) {
    moves_.push(block_move_);
    block_move_ = 0;
  }
  if (moves_.size() < kSurgeBlocks + kLeastBlocks) return;
  const double half = (now - middle) / move;
  if (move == 0 || half < kEvenly || half > 1 - kEvenly) return;
  for (uint32_t i = kSurgeBlocks; i < moves_.size(); ++i) {
    if (absolute(move) <= static_cast<double>(moves_.at(i))) return;
  }
  surge_ = move / kSurgeSteps;
}

void Series::judge(unsigned horizon, double value) {
  const uint32_t ahead = steps_ahead(horizon);
  if (history_.count() <= ahead) return;
  const uint64_t made_at = history_.count() - ahead;
  const Pending& due = pending(horizon, made_at);
  if (due.made_at != made_at) return;

  Horizon& h = horizons_[horizon];
  const double naive = due.models[index(Model::naive)];
  h.selector.judge(due.models, due.known, value, kHorizonSeconds[horizon]);
  h.regression.update(naive, value);
  const bool below = value < due.low;
  const bool above = value > due.high;
  h.interval.judge(value - due.expected, below, above, kHorizonSeconds[horizon] / kErrorsPerHorizon);
  if (horizon == 0) {
    above_ = larger(above_ * kFading, value - static_cast<double>(due.high));
    below_ = larger(below_ * kFading, static_cast<double>(due.low) - value);
  }
  h.error.add(absolute(value - due.expected), kScoreMemory);
  h.naive_error.add(absolute(value - naive), kScoreMemory);
  h.coverage.add(below || above ? 0 : 1, kScoreMemory);
  ++judged_;
}

void Series::predict(unsigned horizon, double value, const Line& maxima) {
  const uint32_t ahead = steps_ahead(horizon);
  Horizon& h = horizons_[horizon];
  Pending& made = pending(horizon, history_.count());
  made.made_at = history_.count();
  made.known = 0;
  const auto say = [&made](Model model, double forecast) {
    made.models[index(model)] = static_cast<float>(clamp(forecast, 0, kMostBytes));
    made.known |= bit(model);
  };
  say(Model::naive, value);
  say(Model::holt, holt_.forecast(ahead));
  if (line_.count >= kLineLeast) say(Model::least_squares, line_.ahead(ahead));
  if (maxima.count >= 2) say(Model::block_maxima, maxima.ahead(static_cast<double>(ahead) / History::kBlockSteps));
  if (h.regression.is_ready()) say(Model::regression, h.regression.forecast(value));
  if (season_.period() != 0) {
    say(Model::seasonal, season_.forecast(history_, horizon));
    h.selector.expect_of_season(season_.expected_error(horizon), season_.refines_last_value(horizon));
  }
  const Model model = h.selector.choose(made.known);
  announce(horizon, model, from_level(horizon, model, made.models[index(model)]), &made);
}

double Series::from_level(unsigned horizon, Model model, double said) const {
  const double level = level_.value();
  return model == Model::naive ? level : level + horizons_[horizon].selector.trust(model) * (said - level);
}

void Series::follow(unsigned horizon, double value) {
  const Prediction& prediction = horizons_[horizon].prediction;
  double expected = static_cast<double>(prediction.bytes);
  switch (prediction.model) {
    case Model::naive: expected = value; break;
    case Model::holt: expected = holt_.forecast(steps_ahead(horizon)); break;
    case Model::seasonal:
      if (season_.period() != 0) expected = season_.forecast(history_, horizon);
      break;
    case Model::regression: expected = horizons_[horizon].regression.forecast(value); break;
    case Model::least_squares:
    case Model::block_maxima:  // half a second older: no matter
      announce(horizon, prediction.model, expected, nullptr);
      return;
  }
  expected = from_level(horizon, prediction.model, expected);
  announce(horizon, prediction.model, clamp(expected, 0, kMostBytes), nullptr);
}

void Series::announce(unsigned horizon, Model model, double expected, Pending* made) {
  Horizon& h = horizons_[horizon];
  double low = h.interval.low();
  double high = h.interval.high();
  // Too few errors to go by: as far as the series has moved yet, and once more as much for every doubling of the
  // horizon; of a series that has hardly begun, anything up to twice its size.
  if (!h.interval.is_ready(kHorizonSeconds[horizon])) {
    const double moved = history_.size() < kStepsPerSecond * 10 ? expected : history_.range() * (2 + horizon);
    low = smaller(low, -moved);
    high = larger(high, moved);
  }
  const double surge = surge_ * steps_ahead(horizon);
  low = smaller(low, surge * kSurgeReach);
  high = larger(high, surge * kSurgeReach);
  const double further = static_cast<double>(kHorizonSeconds[horizon]) / kHorizonSeconds[0];
  low -= larger(0, below_) * further;
  high += larger(0, above_) * further;
  // Errors all to one side leave the forecast itself outside; the band takes it in.
  low = larger(0, expected + smaller(low, 0));
  high = clamp(expected + larger(high, 0), 0, kMostBytes);
  h.prediction = {double_as_bytes(expected), double_as_bytes(low), double_as_bytes(high), model};
  if (made != nullptr) {
    made->expected = static_cast<float>(expected);
    made->low = static_cast<float>(low);
    made->high = static_cast<float>(high);
  }
}

}  // namespace pm
