// One number for how well a process and its allocator get on, and what each missing point was taken off for.
//
// 100 is nothing to complain about. Arithmetic on what was seen; the rules and their weights stand in health.cc.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_HEALTH_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_HEALTH_H_

#include <array>
#include <string>
#include <vector>

#include "metrics/metrics.h"
#include "preload/launcher/doctor.h"

namespace pm {

inline constexpr size_t kLevels = 5;  // of pressure

struct Observed {
  std::vector<Finding> findings;  // the doctor's, at the end
  size_t advices = 0;             // how many options would serve better
  double seconds = 0;             // that were watched
  // Where the difference counts, and where the state does.
  Snapshot first = {};
  Snapshot last = {};
  std::array<double, kLevels> level_seconds = {};
  double mean_resident_bytes = 0;
  double mean_free_resident_bytes = 0;  // free extents, magazines and depot
};

struct Deduction {
  unsigned points;
  std::string why;  // with numbers
};

struct Health {
  unsigned points;                    // 0 to 100
  std::vector<Deduction> deductions;  // the heaviest first; together they may be more than 100
};

Health judge(const Observed& observed);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_HEALTH_H_
