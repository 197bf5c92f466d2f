// A curve of memory use played through the library's own forecast, levels and plan, and through other ways to decide,
// on a model of memory: what is touched for the first time or after it was given back costs a refault, what is kept
// above demand costs its price for as long as it is kept. Nothing is mapped and nothing waits.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SIMULATION_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SIMULATION_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "preload/launcher/curves.h"
#include "reclaim/plan.h"

namespace pm {

// What lies under the heap, and what touching it costs.
struct Backing {
  std::string name;
  std::string text;
  bool huge;
  Prices prices;
};
const std::vector<Backing>& backings();

// In seconds of CPU time.
struct Cost {
  double hold = 0;
  double first_touch = 0;  // the same for every policy
  double refault = 0;
  double decommit = 0;
  double total() const { return hold + first_touch + refault + decommit; }
};

struct Outcome {
  std::string policy;
  Cost cost;
  double over_oracle = 1;       // cost.total() over the oracle's
  double resident_to_used = 1;  // integrals over time
  double decommitted_bytes = 0;
  double over_limit_s = 0;  // how long the limit would have been crossed where what is in use fits: a kill
};

// One moment of the library's own policy, for charts. Where a curve is long, one stands for several.
struct Moment {
  double time_s;
  uint64_t used_bytes, resident_bytes, limit_bytes;  // the limit kNoLimit if there is none
  uint64_t low_bytes, high_bytes;                    // what demand was expected to be at the first horizon
  PressureLevel level;
  std::array<uint64_t, kReasons> released_bytes;  // since the moment before
};

struct SimulationSettings {
  LevelOptions levels = kDefaultLevels;
  PlanOptions plan = {};
  uint64_t hold_ns_per_mib_second = kUnmeasuredPrices.hold_ns_per_mib_second;
  bool keep_moments = false;
};

struct Simulation {
  double seconds = 0;  // of the curve
  Outcome oracle;
  std::vector<Outcome> outcomes;  // the library's first
  std::vector<Moment> moments;
  std::array<uint64_t, kReasons> released_bytes = {};
  std::array<double, kPressureLevels> level_seconds = {};
};

// The curve up to where what is in use meets the limit by itself: no policy lives on from there. The first point stays.
Curve until_limit(const Curve& curve);

// The curve has at least one point, at rising times; it is played until_limit.
Simulation simulate_curve(const Curve& curve, const Backing& backing, const SimulationSettings& settings);

// What keeping and dropping would have cost at best, for whoever knows the future. Demand is constant from one point to
// the next; each byte's idle times are known exactly (a stack of the heights that demand has left), and of keeping a
// byte through one and dropping it the cheaper is taken. Since a byte above is idle whenever one below it is, and
// longer, these choices never contradict each other: no policy on this model is cheaper.
Cost oracle_cost(const Curve& curve, const Prices& prices, bool huge);

const char* name_of(PressureLevel level);
const char* name_of(Reason reason);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SIMULATION_H_
