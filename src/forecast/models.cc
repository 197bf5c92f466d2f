#include "forecast/models.h"

namespace pm {

Line Line::through(const double* values, uint32_t count) {
  Line line;
  line.count = count;
  if (count == 0) return line;
  // From the first value, so that a large level does not drown a small slope.
  const double first = values[0];
  double sum = 0, weighted = 0, squares = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const double y = values[i] - first;
    sum += y;
    weighted += i * y;
    squares += y * y;
  }
  const double n = count;
  const double middle = (n - 1) / 2;
  const double mean = sum / n;
  const double variance = n * (n * n - 1) / 12;
  const double covariance = weighted - middle * sum;
  const double total = larger(0, squares - sum * mean);
  line.slope = variance > 0 ? covariance / variance : 0;
  line.at_zero = first + mean - line.slope * middle;
  const double rest = larger(0, total - line.slope * covariance);
  line.fit = total > 0 ? 1 - rest / total : 0;
  if (count > 2) {
    line.spread = square_root(rest / (n - 2));
    line.slope_error = square_root(rest / (n - 2) / variance);
  }
  return line;
}

void Holt::update(double value) {
  constexpr double kLevelShare = 0.10;
  constexpr double kTrendShare = 0.02;
  constexpr double kDamping = 0.995;
  constexpr double kUsualShare = 0.02;
  constexpr double kSurprises = 6;
  constexpr uint32_t kFirst = 20;
  if (updates_ == 0) level_ = value;
  ++updates_;
  // The first values count for more: a plain average until the share is reached.
  const double share = larger(kLevelShare, 1.0 / updates_);
  const double before = level_;
  level_ += kDamping * trend_;
  // A surprise counts for as much as a few usual ones, so that a spike does not become a trend.
  const double surprise = value - level_;
  const double bound = updates_ > kFirst ? kSurprises * usual_ : absolute(surprise);
  const double taken = clamp(surprise, -bound, bound);
  usual_ += larger(kUsualShare, 1.0 / updates_) * (absolute(taken) - usual_);
  level_ += share * taken;
  trend_ = kTrendShare * (level_ - before) + (1 - kTrendShare) * kDamping * trend_;
  if (updates_ == UINT32_MAX) updates_ = 1U << 30;
}

double Holt::forecast(uint32_t ahead) const {
  // 0.995 + 0.995^2 + ...; the power by squaring.
  constexpr double kDamping = 0.995;
  double power = 1, factor = kDamping;
  for (uint32_t n = ahead; n != 0; n >>= 1) {
    if (n & 1) power *= factor;
    factor *= factor;
  }
  return level_ + trend_ * kDamping * (1 - power) / (1 - kDamping);
}

void Level::update(double value) {
  constexpr uint32_t kMemory = 400;
  constexpr uint32_t kFirst = 20;
  constexpr double kLeastShare = 0.1;
  constexpr double kBeyond = 3.5;  // standard deviations
  if (updates_ < kMemory) ++updates_;
  double move = updates_ == 1 ? 0 : value - last_;
  last_ = value;
  const double share = 1.0 / updates_;
  // A jump says nothing of noise.
  const double bound = kBeyond * square_root(variance_);
  if (updates_ > kFirst) move = clamp(move, -bound, bound);
  variance_ += share * (move * move - variance_);
  neighbours_ += share * (move * last_move_ - neighbours_);
  last_move_ = move;
  // As much noise as is more than chance (two standard errors of the covariance). What is left of the variance is what
  // moves; of both follows the best share of a surprise to take over.
  const double noise = smaller(-neighbours_ - 2 * variance_ * square_root(share), variance_ / 2);
  const double off = value - level_;
  if (updates_ <= kFirst || !(noise > 0) || off * off > kBeyond * kBeyond * (variance_ - noise)) {
    level_ = value;
    return;
  }
  const double moving = (variance_ - 2 * noise) / noise;
  level_ += larger(kLeastShare, (square_root(moving * moving + 4 * moving) - moving) / 2) * off;
}

void Regression::update(double then, double now) {
  const double off = then - then_;
  const double moved = now - then;
  if (is_ready()) {
    // A spike of seconds must not move the means for minutes; what lasts is let in.
    const double bound = 4 * square_root(variance_);
    const bool outlying = absolute(off) > bound || absolute(now - then_ - drift_) > bound;
    outlying_ = outlying ? outlying_ + 1 : 0;
    if (outlying && outlying_ <= kSpike) return;
  }
  if (updates_ < kMemory) ++updates_;
  const double share = 1.0 / updates_;
  const double moved_off = moved - drift_;
  neighbours_ += share * ((1 - share) * off * last_off_ - neighbours_);
  last_off_ = off;
  then_ += share * off;
  drift_ += share * moved_off;
  variance_ += share * ((1 - share) * off * off - variance_);
  moved_variance_ += share * ((1 - share) * moved_off * moved_off - moved_variance_);
  covariance_ += share * ((1 - share) * off * moved_off - covariance_);
}

double Regression::forecast(double value) const {
  // As many independent values as so many are worth whose neighbours are so much alike. From few of them a walk looks
  // as if it came back to its mean (the estimate of b is too low by about (1 + 3 b) / n), and chance looks like a
  // drift.
  const double alike = variance_ > 0 ? clamp(neighbours_ / variance_, 0, 1) : 1;
  const double apart = larger(0.5, updates_ * (1 - alike) / (1 + alike));
  const double seen = variance_ > 0 ? clamp(1 + covariance_ / variance_, 0, 1) : 1;
  const double slope = smaller(1, seen + (1 + 3 * seen) / apart);
  const double chance = moved_variance_ / apart;
  const double drift = drift_ * drift_ > chance ? drift_ * (1 - chance / (drift_ * drift_)) : 0;
  // What comes back to its mean does so from distances it is known to reach; the rest of a greater one is there to
  // stay.
  const double known = 3 * square_root(variance_);
  return value + drift - (1 - slope) * clamp(value - then_, -known, known);
}

Line recent_line(const History& history) {
  constexpr uint32_t kWindow = 120 * kStepsPerSecond;
  double values[kWindow];
  const uint32_t count = history.size() < kWindow ? history.size() : kWindow;
  for (uint32_t i = 0; i < count; ++i) values[i] = history.at(count - 1 - i);
  return Line::through(values, count);
}

Line maxima_line(const History& history) {
  constexpr uint32_t kBlocks = 5;
  constexpr uint32_t kLength = History::kBlockSteps;
  double values[kBlocks];
  const uint32_t whole = history.size() / kLength;
  const uint32_t count = whole < kBlocks ? whole : kBlocks;
  for (uint32_t i = 0; i < count; ++i) values[i] = history.largest((count - 1 - i) * kLength, kLength);
  return Line::through(values, count);
}

}  // namespace pm
