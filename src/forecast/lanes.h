// Four floats at a time, by the vector types that both compilers know and every machine of ours has (SSE2, NEON).
#pragma once

#include <cstdint>
#include <cstring>

namespace pm {

inline constexpr uint32_t kLanes = 4;
typedef float Lanes __attribute__((vector_size(16)));

inline Lanes load_lanes(const float* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

inline void store_lanes(Lanes lanes, float* to) { std::memcpy(to, &lanes, sizeof lanes); }
inline Lanes all_lanes(float value) { return Lanes{value, value, value, value}; }
inline Lanes smaller(Lanes x, Lanes y) { return x < y ? x : y; }
inline Lanes larger(Lanes x, Lanes y) { return x > y ? x : y; }

}  // namespace pm
