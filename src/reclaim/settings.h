// What the library's options say to levels and plans.
#pragma once

#include "config/options.h"
#include "reclaim/level.h"
#include "reclaim/plan.h"

namespace pm {

inline LevelOptions level_options(const Options& options) {
  LevelOptions levels = kDefaultLevels;
  for (unsigned i = 0; i < kPressureLevels; ++i) levels.percent[i] = options.pressure_levels.values[i];
  // The option rises, from critical to moderate.
  for (unsigned i = 0; i < 3; ++i) levels.seconds[3 - i] = options.pressure_seconds.values[i];
  return levels;
}

inline PlanOptions plan_options(const Options& options) {
  return {static_cast<uint32_t>(options.background_budget), options.prefault, options.collapse};
}

}  // namespace pm
