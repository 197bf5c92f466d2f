// How much memory above current demand to keep, when several rules know different things.
//
// Each rule says at each sample up to which height memory is worth keeping:
//   history   what the idle times of each height say (idle_history.h). Right for phases and seasons.
//   distance  so many bytes above demand, one rule for each of sixteen distances. Right for what wanders: the next few
//             megabytes are soon wanted again however long they have been idle, those far above are not.
// All rules are followed in shadow: a shadow holds what its rule would have kept, and pays for holding and refaulting
// at today's price. Costs fade over some minutes; the rule whose shadow has paid least decides. What has been idle long
// is left to the history whichever rule that is, so that a process at rest keeps nothing for long.
//
// Tried and dropped: a rule that keeps what the forecast's interval covers. Its shadow was hardly ever the cheapest,
// because gaps of seconds decide and the first horizon is half a minute away.
//
// Pure arithmetic; one thread. All zeros is a fresh one.
#pragma once

#include "reclaim/idle_history.h"

namespace pm {

enum class KeepRule : uint8_t { history, distance };

class Keeper {
 public:
  struct Decision {
    uint64_t keep;      // the height, from demand to what is held
    uint64_t valid_ns;  // as long as demand stays where it is; UINT64_MAX: for ever
    KeepRule rule;
  };

  // What to keep of `held`, which is current demand and what is free and resident above it. Called once after each
  // IdleHistory::add.
  Decision decide(const IdleHistory& idle, uint64_t held, const IdlePrice& price);

 private:
  static constexpr unsigned kDistances = 16;
  static constexpr unsigned kRules = 1 + kDistances;

  struct Shadow {
    double held;
    double cost;
  };

  Shadow shadows_[kRules] = {};
  uint64_t now_ns_ = 0;
  uint64_t demand_ = 0;
  bool started_ = false;
};

}  // namespace pm
