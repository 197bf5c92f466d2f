#include "shape.h"

#include <algorithm>
#include <cmath>

#include "preload/launcher/curves.h"

namespace bench {

namespace {

constexpr double kPointsPerSecond = 20;

// 0 below `from`, 1 above `to`, a line between.
double line(double value, double from, double to) { return std::clamp((value - from) / (to - from), 0.0, 1.0); }

}  // namespace

Shape::Shape(const ShapeRequest& request) : request_(request) {
  constexpr struct {
    const char* name;
    Kind kind;
  } kKinds[] = {{"square", Kind::square}, {"saw", Kind::saw},   {"spike", Kind::spike}, {"sine", Kind::sine},
                {"steady", Kind::steady}, {"ramp", Kind::ramp}, {"leak", Kind::leak}};
  for (const auto& [name, kind] : kKinds) {
    if (request.name == name) kind_ = kind;
  }
  if (kind_ != Kind::none) return;

  const pm::Curve curve =
      pm::make_curve({request.name, request.seed, request.length * request.speed, kPointsPerSecond / request.speed});
  if (curve.points.empty()) return;
  kind_ = Kind::points;
  const auto [least, most] = std::minmax_element(curve.points.begin(), curve.points.end(),
                                                 [](auto& a, auto& b) { return a.used_bytes < b.used_bytes; });
  const auto from = static_cast<double>(least->used_bytes);
  const auto range = std::max(1.0, static_cast<double>(most->used_bytes) - from);
  for (const pm::CurvePoint& point : curve.points) {
    const double part = (static_cast<double>(point.used_bytes) - from) / range;
    points_.push_back(request.low + part * (request.high - request.low));
  }
}

double Shape::at(double seconds) const {
  const double cycle = seconds / request_.period + request_.phase;
  const double turn = cycle - std::floor(cycle);
  double part = 0;
  switch (kind_) {
    case Kind::none: break;
    case Kind::square: part = turn >= 0.5 + request_.late / request_.period ? 1 : 0; break;
    case Kind::saw: part = turn; break;
    case Kind::spike: part = seconds >= request_.length / 4 && seconds < request_.length / 4 + request_.period; break;
    case Kind::sine: part = 0.5 - 0.5 * std::cos(2 * M_PI * turn); break;
    case Kind::steady: part = 1; break;
    case Kind::ramp: part = line(seconds, request_.length / 3, request_.length * 2 / 3); break;
    case Kind::leak: part = line(seconds, 0, request_.length * 0.95); break;
    case Kind::points:
      return points_[std::min(points_.size() - 1, static_cast<size_t>(std::max(0.0, seconds) * kPointsPerSecond))];
  }
  return request_.low + part * (request_.high - request_.low);
}

}  // namespace bench
