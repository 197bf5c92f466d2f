// Small arithmetic on doubles for the forecasts; every function is total: no input makes a NaN, a trap or a wild cast.
#pragma once

#include <bit>
#include <cstdint>
#include <new>
#include <type_traits>

namespace pm {

// Bytes are held as doubles, and as floats in histories; beyond this they are all the same.
inline constexpr double kMostBytes = 9.2e18;

constexpr double bytes_as_double(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  return value < kMostBytes ? value : kMostBytes;
}

constexpr uint64_t double_as_bytes(double value) {
  if (!(value > 0)) return 0;
  return value < kMostBytes ? static_cast<uint64_t>(value) : static_cast<uint64_t>(kMostBytes);
}

constexpr double absolute(double x) { return x < 0 ? -x : x; }
constexpr double smaller(double x, double y) { return y < x ? y : x; }
constexpr double larger(double x, double y) { return y > x ? y : x; }
constexpr double clamp(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// To one part in a million, without the C library: halving the exponent gives a first guess.
constexpr double square_root(double x) {
  if (!(x > 1e-300)) return 0;
  double root = std::bit_cast<double>((std::bit_cast<uint64_t>(x) >> 1) + 0x1ff7a3bea91d9b1bU);
  for (int i = 0; i < 3; ++i) root = 0.5 * (root + x / root);
  return root;
}

constexpr double median_of(double a, double b, double c) { return larger(smaller(a, b), smaller(larger(a, b), c)); }

// Makes it as good as new, in place: an assignment would put a second one on the stack.
template <typename T>
void renew(T& object) {
  static_assert(std::is_trivially_destructible_v<T>);
  ::new (static_cast<void*>(&object)) T();
}

// An average that forgets: plain at first, exponential with the given length in updates after.
struct Average {
  double value = 0;
  uint32_t count = 0;

  constexpr void add(double x, uint32_t length) {
    if (count < length) ++count;
    value += (x - value) / count;
  }
};

}  // namespace pm
