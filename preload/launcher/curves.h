// Curves of memory use over time, for the simulator and for the benches: families made from a seed, and a CSV form.
// A curve is a list of points at rising times; the same name, seed, length and rate give the same curve everywhere.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_CURVES_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_CURVES_H_

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace pm {

inline constexpr uint64_t kCurveWithoutLimit = UINT64_MAX;

struct CurvePoint {
  double time_s;
  uint64_t used_bytes;   // what the program holds
  uint64_t usage_bytes;  // what the limit counts
  uint64_t limit_bytes;  // kCurveWithoutLimit if there is none
};

struct Curve {
  std::string name;
  std::vector<CurvePoint> points;
};

struct CurveRequest {
  std::string family;
  uint64_t seed = 1;
  double seconds = 1800;
  double hertz = 2;
};

// The families' names, in the order in which tables list them.
const std::vector<std::string>& curve_families();

// Whether the family's usage grows until it meets its limit.
bool curve_meets_limit(const std::string& family);

// The curve, or one without points if there is no such family, or if it would have no or too many points (10 million).
Curve make_curve(const CurveRequest& request);

// Columns time_s and used_bytes, and optionally usage_bytes and limit_bytes, in any order, named by the first line;
// other columns are passed over. Without usage_bytes the usage is used_bytes; without limit_bytes, or where the field
// is empty or "max", there is no limit. Empty lines and lines that begin with # are passed over. False with the line's
// number and what is wrong with it in `error`: an unknown number, a time that does not rise, no points at all.
bool read_curve(std::istream& in, Curve& curve, std::string& error);
void write_curve(std::ostream& out, const Curve& curve);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_CURVES_H_
