// Which model forecasts one horizon: the one with the lowest recent error. Leaving the last value for another model has
// to be earned: errors of overlapping forecasts are alike, so that on a random walk one model or another always seems
// ahead, and following such luck costs more than it gains. So a model's lead is averaged over blocks, and must exceed
// its standard error, which the correlation of neighbouring blocks widens. Even then it is followed only as far as the
// lead is certain: a model that has just passed moves the forecast a little, one that leads beyond doubt all the way.
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
  // The forecasts that came due (by Model; `known` has a bit for each that was made), and what came. `overlap`: for how
  // many judgements a forecast is under way.
  void judge(const float* forecasts, uint32_t known, double actual, uint32_t overlap);
  // The season's own estimate of its error. It has passed a test of its own, so while it is well below the error of the
  // last value the season is believed without waiting for judgements.
  // Where it only refines the last value, it must not be worse.
  void expect_of_season(double error, bool refines) {
    season_error_ = error;
    season_refines_ = refines;
  }
  Model choose(uint32_t known);
  // How far to go from the last value towards what this model, the chosen one, says: 0 to 1. A lead that might still be
  // luck is worth a part of the way only: half a wrong step costs a quarter of a whole one.
  double trust(Model model) const;

 private:
  struct Record {
    double error = 0;  // mean absolute
    uint32_t count = 0;
    // Of the lead (naive's error less its own), block by block: mean, variance, covariance of neighbours.
    double lead = 0, variance = 0, neighbours = 0;
    double last_block = 0;
    uint32_t blocks = 0;
    double block_sum = 0;  // of the block under way
    uint32_t block_count = 0;
  };

  static void close_block(Record& record, uint32_t memory);
  // The square of the model's lead over its standard error; 0: it does not lead, or not for long.
  static double certainty(const Record& record);
  bool is_better_than_naive(unsigned model) const;
  double error_of(unsigned model) const;

  Record records_[kModels];
  double season_error_ = 0;
  bool season_refines_ = false;
  Model chosen_ = Model::naive;
};

}  // namespace pm
