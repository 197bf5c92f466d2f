// The two functions that sampling needs of the exponential distribution, without the C library's mathematics. Pure.
#pragma once

#include <bit>
#include <cstdint>

namespace pm {

// ln x for a normal x > 0, to some parts in 10^15.
constexpr double natural_log(double x) {
  constexpr double kLn2 = 0.69314718055994530942;
  const auto bits = std::bit_cast<uint64_t>(x);
  auto exponent = static_cast<int>(bits >> 52) - 1023;
  auto mantissa = std::bit_cast<double>((bits & 0xfffffffffffffU) | 0x3ff0000000000000U);
  if (mantissa > 1.4142135623730951) {
    mantissa /= 2;
    ++exponent;
  }
  // ln m = 2 artanh((m - 1) / (m + 1)), whose argument is at most 0.172 here.
  const double s = (mantissa - 1) / (mantissa + 1);
  const double s2 = s * s;
  double sum = 0;
  for (int term = 19; term > 0; term -= 2) sum = sum * s2 + 1.0 / term;
  return exponent * kLn2 + 2 * s * sum;
}

// 1 - e^-x for x >= 0, exact for small x as well.
constexpr double one_minus_exp(double x) {
  if (x > 50) return 1;
  unsigned halvings = 0;
  for (; x > 0.03125; ++halvings) x /= 2;
  // The series of 1 - e^-x, from its smallest term.
  double value = 0;
  for (int term = 8; term > 0; --term) value = x / term * (1 - value);
  for (; halvings > 0; --halvings) value = value * (2 - value);
  return value;
}

}  // namespace pm
