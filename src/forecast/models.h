// The models that need no season. Each is fed step by step and asked for the value `ahead` steps from now.
#pragma once

#include <cstdint>

#include "forecast/history.h"

namespace pm {

// A straight line through points (0, y0), (1, y1), ..., by least squares.
struct Line {
  double at_zero = 0;
  double slope = 0;
  double slope_error = 0;  // standard error
  double spread = 0;       // standard deviation of the points about the line
  double fit = 0;          // R squared: the share of the points' variance that the line explains

  static Line through(const double* values, uint32_t count);
  uint32_t count = 0;
  double at(double x) const { return at_zero + slope * x; }
  // So many of its x beyond the last point.
  double ahead(double x) const { return at(count - 1.0 + x); }
};

// Level and trend, each smoothed; the trend is damped, so that a rise is not taken to go on for ever.
class Holt {
 public:
  void update(double value);
  double forecast(uint32_t ahead) const;
  void clear() { renew(*this); }

 private:
  double level_ = 0;
  double trend_ = 0;
  double usual_ = 0;  // mean absolute surprise
  uint32_t updates_ = 0;
};

// The last value without its noise. Steps between neighbouring values tell how much of them is noise: it is undone by
// the next step, so that neighbours of opposite sign outweigh the others, where what moves stays. A move beyond noise
// is taken over at once. Without noise it is the last value itself.
class Level {
 public:
  void update(double value);
  double value() const { return level_; }
  void clear() { renew(*this); }

 private:
  double level_ = 0, last_ = 0, last_move_ = 0;
  double variance_ = 0, neighbours_ = 0;  // of moves from value to value; covariance of neighbouring ones
  uint32_t updates_ = 0;
};

// What followed values like this one: x(t + ahead) = x(t) + drift - (1 - b) (x(t) - mean), from the recent past by
// least squares. b near 0 is a mean that the series comes back to, b near 1 a walk with a drift. One per horizon.
class Regression {
 public:
  // `then` is the value that `now` was to be forecast from.
  void update(double then, double now);
  bool is_ready() const { return updates_ >= kLeastPairs; }
  double forecast(double value) const;
  void clear() { renew(*this); }

 private:
  static constexpr uint32_t kLeastPairs = 60;
  static constexpr uint32_t kMemory = 1200;
  static constexpr uint32_t kSpike = 12;

  double then_ = 0, drift_ = 0;               // means of x(t) and of x(t + ahead) - x(t)
  double variance_ = 0, moved_variance_ = 0;  // of the same
  double covariance_ = 0;                     // of both
  double neighbours_ = 0;                     // covariance of x with itself, one update apart
  double last_off_ = 0;
  uint32_t updates_ = 0;
  uint32_t outlying_ = 0;  // in a row, far from all before
};

// The line through the last two minutes' values, a step apart.
Line recent_line(const History& history);
// The line through the maxima of the last five blocks of 30 s, the newest ending now.
Line maxima_line(const History& history);

}  // namespace pm
