// How close the process is to its limit, in five steps. Pure arithmetic on samples: no clock, file, thread, atomic or
// allocation. One thread calls; a LevelTracker holds about a hundred bytes.
//
// The shares. `percent` has a number for each level, ascending. Usage at or above percent[moderate] enters moderate,
// and so on for high, critical and emergency. A level is left when usage falls below the number of the level beneath
// it: moderate below percent[calm], high below percent[moderate]. So with 60, 70, 80, 90, 95 moderate lasts from 70 %
// until usage is below 60 %, critical from 90 % until it is below 80 %. That distance is the hysteresis.
//
// The forecast. A level is entered as well when usage is expected to meet the limit within `seconds` of that level, and
// then holds until the expected time has been more than twice that for five seconds. Emergency is never entered by a
// forecast.
//
// Growth. Between the threshold of emergency and the limit there is one step of what usage can grow between two
// samples, two for critical, three for high and so on, so that a process that jumps is seen in time; but no threshold
// moves below the number of the level beneath. A step is the largest rise above the highest usage of late; it halves in
// 30 s, and the highest usage moves half way to the present one in five minutes.
//
// Backstops. For ten seconds after the kernel itself has said that the group stalls for memory (a tenth of the time) or
// has met its limit, the level is at least high, if usage is above percent[calm].
//
// Without a limit, the memory that the host has left takes its place.
#pragma once

#include <cstdint>

#include "forecast/forecast.h"

namespace pm {

enum class PressureLevel : uint8_t { calm, moderate, high, critical, emergency };
inline constexpr unsigned kPressureLevels = 5;

struct LevelOptions {
  uint32_t percent[kPressureLevels];  // of the limit, ascending, 1 to 100
  uint32_t seconds[kPressureLevels];  // to the limit, descending; those of calm and emergency are not used
};

inline constexpr LevelOptions kDefaultLevels = {{60, 70, 80, 90, 95}, {0, 120, 60, 20, 0}};

// The limit that levels and plans go by: the sample's own, or what is used and what the host has left if that is less.
// kNoLimit if neither is known.
uint64_t effective_limit(const Sample& sample);

class LevelTracker {
 public:
  // Takes the options as they are if they are ordered, the defaults otherwise. May be called again at any time.
  void configure(const LevelOptions& options);

  // The level now. Samples come in order; one whose clock stands or runs backwards is judged by its shares alone.
  PressureLevel update(const Sample& sample, const Forecast& forecast);

  PressureLevel level() const { return level_; }
  // How many bytes of usage more would enter the next level; 0 at emergency, kNoLimit without a limit.
  uint64_t room() const { return room_; }

 private:
  void learn_growth(uint64_t usage, uint64_t step_ns);
  PressureLevel foresee(uint64_t now_ns, const Forecast& forecast);
  PressureLevel backstop(const Sample& sample, uint64_t step_ns);

  LevelOptions options_ = kDefaultLevels;
  PressureLevel level_ = PressureLevel::calm;
  PressureLevel by_share_ = PressureLevel::calm;
  PressureLevel foreseen_ = PressureLevel::calm;
  bool seen_ = false;
  uint64_t last_ns_ = 0;
  uint64_t highest_ = 0;  // usage of late, fading towards what it is now
  uint64_t last_stall_ns_ = 0;
  uint64_t last_events_ = 0;
  uint64_t foreseen_until_ns_ = 0;
  uint64_t warned_at_ns_ = 0;  // when the kernel last said that the group stalls or met its limit
  uint64_t growth_ = 0;        // the largest rise above highest_ between two samples, fading
  uint64_t room_ = kNoLimit;
};

}  // namespace pm
