#include "forecast/models.h"

namespace pm {

Line Line::through(const double* values, uint32_t count) {
  Line line;
  line.count = count;
  if (count == 0) return line;
  double mean = 0;
  for (uint32_t i = 0; i < count; ++i) mean += values[i];
  mean /= count;
  const double middle = (count - 1) / 2.0;
  double covariance = 0, variance = 0, total = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const double x = i - middle;
    const double y = values[i] - mean;
    covariance += x * y;
    variance += x * x;
    total += y * y;
  }
  line.slope = variance > 0 ? covariance / variance : 0;
  line.at_zero = mean - line.slope * middle;
  const double rest = larger(0, total - line.slope * covariance);
  line.fit = total > 0 ? 1 - rest / total : 0;
  if (count > 2) {
    line.spread = square_root(rest / (count - 2));
    line.slope_error = square_root(rest / (count - 2) / variance);
  }
  return line;
}

void Holt::update(double value) {
  constexpr double kLevelShare = 0.10;
  constexpr double kTrendShare = 0.02;
  constexpr double kDamping = 0.995;
  if (updates_ == 0) level_ = value;
  ++updates_;
  // The first values count for more: a plain average until the share is reached.
  const double share = larger(kLevelShare, 1.0 / updates_);
  const double before = level_;
  level_ += kDamping * trend_;
  level_ += share * (value - level_);
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

void Regression::update(double then, double now) {
  if (updates_ < kMemory) ++updates_;
  const double share = 1.0 / updates_;
  const double then_off = then - then_;
  const double now_off = now - now_;
  then_ += share * then_off;
  now_ += share * now_off;
  then_then_ += share * ((1 - share) * then_off * then_off - then_then_);
  then_now_ += share * ((1 - share) * then_off * now_off - then_now_);
}

double Regression::forecast(double value) const {
  const double slope = then_then_ > 0 ? clamp(then_now_ / then_then_, 0, 1) : 1;
  // What comes back to its mean does so from distances it is known to reach; the rest of a greater one is there to
  // stay.
  const double known = 3 * square_root(then_then_);
  const double off = value - then_;
  const double near = clamp(off, -known, known);
  return now_ + slope * near + (off - near);
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
