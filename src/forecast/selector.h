// Which model forecasts one horizon: the one with the lowest recent error. Leaving the last value for another model has
// to be earned: errors of overlapping forecasts are alike, so that on a random walk one model or another always seems
// ahead, and following such luck costs more than it gains. So a model's lead must exceed its standard error, which the
// correlation of neighbouring judgements widens.
#pragma once

#include <cstdint>

#include "forecast/numbers.h"

namespace pm {

enum class Model : uint8_t { naive, holt, least_squares, block_maxima, seasonal, regression };
inline constexpr unsigned kModels = 6;

constexpr unsigned index(Model model) { return static_cast<unsigned>(model); }
constexpr uint32_t bit(Model model) { return 1U << index(model); }

class Selector {
 public:
  // The forecasts that came due (by Model; `known` has a bit for each that was made), and what came.
  void judge(const float* forecasts, uint32_t known, double actual);
  // A model that has not been judged yet is believed to have this error, until it has been.
  void expect(Model model, double error);
  // `overlap`: how many judgements a forecast is under way, so that their errors are of the same events.
  Model choose(uint32_t known, uint32_t overlap);
  double error(Model model) const { return records_[index(model)].error; }

 private:
  struct Record {
    double error = 0;       // mean absolute
    double lead = 0;        // naive's error less its own: mean,
    double variance = 0;    // variance,
    double neighbours = 0;  // and covariance of neighbours
    double last_lead = 0;
    uint32_t count = 0;
    bool expected = false;  // `error` is not from judgements
  };

  bool is_better_than_naive(const Record& record, uint32_t overlap) const;

  Record records_[kModels];
  Model chosen_ = Model::naive;
};

}  // namespace pm
