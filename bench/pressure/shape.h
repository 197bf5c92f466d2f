// How many bytes a program has live over time: shapes of a fixed period for the comparisons, and every family of
// preload/launcher/curves.h, stretched to lie between the same two levels. Time is in seconds since the start.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

struct ShapeRequest {
  std::string name;   // square, saw, spike, sine, steady, ramp, leak, or a family of curves
  double low = 0;     // bytes
  double high = 0;    // bytes
  double period = 0;  // seconds: of the wave, or how long the spike lasts
  double phase = 0;   // part of a period by which the wave is ahead
  double late = 0;    // seconds by which a square wave rises late, having fallen in time
  double length = 0;  // seconds: of the whole run
  double speed = 1;   // seconds of a family's curve in one second
  uint64_t seed = 1;
};

class Shape {
 public:
  explicit Shape(const ShapeRequest& request);

  bool known() const { return kind_ != Kind::none; }
  double at(double seconds) const;

 private:
  enum class Kind { none, square, saw, spike, sine, steady, ramp, leak, points };

  Kind kind_ = Kind::none;
  ShapeRequest request_;
  std::vector<double> points_;  // for families: evenly spaced over the run
};

}  // namespace bench
