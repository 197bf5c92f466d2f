// How far ahead the forecasts look, and the grid they are made on.
#pragma once

#include <cstdint>

namespace pm {

inline constexpr uint32_t kStepsPerSecond = 2;
inline constexpr uint64_t kStepNs = 1'000'000'000 / kStepsPerSecond;

inline constexpr unsigned kHorizons = 3;
inline constexpr uint32_t kHorizonSeconds[kHorizons] = {30, 60, 120};
inline constexpr uint32_t kNever = UINT32_MAX;

constexpr uint32_t steps_ahead(unsigned horizon) { return kHorizonSeconds[horizon] * kStepsPerSecond; }

}  // namespace pm
