#include "forecast/selector.h"

namespace pm {

namespace {

constexpr uint32_t kMemory = 400;           // judgements, of one a second
constexpr uint32_t kLeastJudged = 20;       // before a model may be chosen
constexpr double kBetterThanChosen = 0.95;  // what it takes to replace the model now chosen
constexpr double kBetterIfExpected = 0.7;   // what it takes if the error is an expectation
constexpr double kHangsTogether = 0.8;
constexpr double kStandardErrors = 1.5;

}  // namespace

void Selector::judge(const float* forecasts, uint32_t known, double actual) {
  const double naive = absolute(actual - static_cast<double>(forecasts[index(Model::naive)]));
  for (unsigned model = 0; model < kModels; ++model) {
    if ((known >> model & 1) == 0) continue;
    Record& record = records_[model];
    if (record.expected) {
      record = {};
    }
    if (record.count < kMemory) ++record.count;
    const double share = 1.0 / record.count;
    const double error = absolute(actual - static_cast<double>(forecasts[model]));
    const double lead = naive - error;
    record.error += share * (error - record.error);
    const double off = lead - record.lead;
    const double last_off = record.last_lead - record.lead;
    record.lead += share * off;
    record.variance += share * (off * off - record.variance);
    if (record.count > 1) record.neighbours += share * (off * last_off - record.neighbours);
    record.last_lead = lead;
  }
}

void Selector::expect(Model model, double error) {
  Record& record = records_[index(model)];
  if (record.count >= kLeastJudged) return;
  record.error = error;
  record.expected = true;
}

bool Selector::is_better_than_naive(const Record& record, uint32_t overlap) const {
  const double naive = records_[index(Model::naive)].error;
  if (record.expected) return record.error < kBetterIfExpected * naive;
  if (record.count < kLeastJudged || !(record.lead > 0)) return false;
  // As many independent judgements as a series with that correlation of neighbours is worth.
  const double correlation = record.variance > 0 ? clamp(record.neighbours / record.variance, 0, 0.9999) : 0;
  double worth = record.count * (1 - correlation) / (1 + correlation);
  // A few hundred judgements tell little of a correlation near 1: errors that hang together do so for a whole horizon.
  if (correlation > kHangsTogether) worth = smaller(worth, 0.6 * record.count / overlap);
  return record.lead * record.lead * worth > kStandardErrors * kStandardErrors * record.variance;
}

Model Selector::choose(uint32_t known, uint32_t overlap) {
  Model best = Model::naive;
  double least = 0;
  for (unsigned model = 1; model < kModels; ++model) {
    const Record& record = records_[model];
    if ((known >> model & 1) == 0 || !is_better_than_naive(record, overlap)) continue;
    const double error = record.error * (model == index(chosen_) ? kBetterThanChosen : 1);
    if (best == Model::naive || error < least) {
      least = error;
      best = static_cast<Model>(model);
    }
  }
  chosen_ = best;
  return best;
}

}  // namespace pm
