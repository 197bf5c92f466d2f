#include "forecast/selector.h"

namespace pm {

namespace {

constexpr uint32_t kMemory = 400;  // judgements, of one a second
constexpr uint32_t kLeadMemory = 800;
constexpr uint32_t kLeastJudged = 20;  // before a model's own error is believed
constexpr uint32_t kBlocksPerOverlap = 4;
constexpr uint32_t kLeastBlocks = 3;
constexpr double kStandardErrors = 1.9;
constexpr double kStandardErrorsOfLine = 3.5;  // a line that leads astray leads further than its record shows
constexpr double kLeastVariance = 1;
constexpr double kMostCorrelated = 0.95;
constexpr double kBetterThanChosen = 0.95;  // what it takes to replace the model now chosen
constexpr double kExtrapolation = 1.1;      // the same, against models that draw no line
constexpr double kBetterAsSeason = 0.7;     // what the season's own estimate must be, against the last value's error
constexpr double kNoWorse = 0.95;           // and its judged error, once there is one

constexpr bool is_line(unsigned model) {
  return model == index(Model::holt) || model == index(Model::least_squares) || model == index(Model::block_maxima);
}

// The squared lead in standard errors that a model must exceed.
constexpr double errors_asked(unsigned model) {
  return is_line(model) ? kStandardErrorsOfLine * kStandardErrorsOfLine : kStandardErrors * kStandardErrors;
}

}  // namespace

void Selector::judge(const float* forecasts, uint32_t known, double actual, uint32_t overlap) {
  const double naive = absolute(actual - static_cast<double>(forecasts[index(Model::naive)]));
  const uint32_t block = overlap / kBlocksPerOverlap;
  for (unsigned model = 0; model < kModels; ++model) {
    if ((known >> model & 1) == 0) continue;
    Record& record = records_[model];
    if (record.count < kMemory) ++record.count;
    const double error = absolute(actual - static_cast<double>(forecasts[model]));
    record.error += (error - record.error) / record.count;
    record.block_sum += naive - error;
    if (++record.block_count >= block) close_block(record, kLeadMemory / block);
  }
}

void Selector::close_block(Record& record, uint32_t memory) {
  const double lead = record.block_sum / record.block_count;
  record.block_sum = 0;
  record.block_count = 0;
  if (record.blocks < memory) ++record.blocks;
  const double share = 1.0 / record.blocks;
  const double off = lead - record.lead;
  record.lead += share * off;
  record.variance += share * (off * (lead - record.lead) - record.variance);
  if (record.blocks > 1) record.neighbours += share * (off * (record.last_block - record.lead) - record.neighbours);
  record.last_block = lead;
}

double Selector::certainty(const Record& record) {
  if (record.blocks < kLeastBlocks || !(record.lead > 0)) return 0;
  // As many independent blocks as blocks so correlated are worth. Few blocks make a correlation look smaller than it
  // is.
  const double seen = record.variance > 0 ? clamp(record.neighbours / record.variance, 0, 1) : 0;
  const double correlation = smaller(seen + (1 + 3 * seen) / record.blocks, kMostCorrelated);
  const double worth = record.blocks * (1 - correlation) / (1 + correlation);
  return record.lead * record.lead * worth / larger(record.variance, kLeastVariance);
}

bool Selector::is_better_than_naive(unsigned model) const {
  const Record& record = records_[model];
  const double naive = records_[index(Model::naive)].error;
  if (model == index(Model::seasonal)) {
    if (season_refines_ && record.count >= kLeastJudged && record.error < naive) return true;
    if (season_error_ < kBetterAsSeason * naive && error_of(model) < kNoWorse * naive) return true;
  }
  return certainty(record) > errors_asked(model);
}

double Selector::error_of(unsigned model) const {
  const Record& record = records_[model];
  return model == index(Model::seasonal) && record.count < kLeastJudged ? season_error_ : record.error;
}

double Selector::trust(Model model) const {
  if (model == Model::naive || model == Model::seasonal) return 1;
  const double certain = certainty(records_[index(model)]);
  return certain > 0 ? clamp(1 - errors_asked(index(model)) / certain, 0, 1) : 0;
}

Model Selector::choose(uint32_t known) {
  Model best = Model::naive;
  double least = 0;
  for (unsigned model = 1; model < kModels; ++model) {
    if ((known >> model & 1) == 0 || !is_better_than_naive(model)) continue;
    double error = error_of(model);
    if (model == index(chosen_)) error *= kBetterThanChosen;
    if (is_line(model)) error *= kExtrapolation;
    if (best == Model::naive || error < least) {
      least = error;
      best = static_cast<Model>(model);
    }
  }
  chosen_ = best;
  return best;
}

}  // namespace pm
