// Arithmetic on sizes and addresses. Pure; never allocates.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace pm {

inline constexpr size_t kCacheLine = 64;
inline constexpr size_t kKiB = 1024;
inline constexpr size_t kMiB = 1024 * kKiB;
inline constexpr size_t kGiB = 1024 * kMiB;

constexpr bool is_power_of_two(size_t x) { return x != 0 && (x & (x - 1)) == 0; }

// `alignment` is a power of two; the caller has made sure that x + alignment does not overflow.
constexpr size_t align_up(size_t x, size_t alignment) { return (x + alignment - 1) & ~(alignment - 1); }
constexpr size_t align_down(size_t x, size_t alignment) { return x & ~(alignment - 1); }
constexpr bool is_aligned(size_t x, size_t alignment) { return (x & (alignment - 1)) == 0; }

constexpr size_t divide_up(size_t x, size_t y) { return x / y + (x % y != 0); }

// floor(log2(x)), x > 0.
constexpr unsigned log2_floor(uint64_t x) { return 63U - static_cast<unsigned>(std::countl_zero(x)); }

// The lowest n bits set; n <= 64.
constexpr uint64_t low_bits(unsigned n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

// Number of set bits. Spelled out, because without -mpopcnt the compilers call a library function for it.
constexpr uint32_t count_bits(uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555U;
  x = (x & 0x3333333333333333U) + ((x >> 2) & 0x3333333333333333U);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fU;
  return static_cast<uint32_t>((x * 0x0101010101010101U) >> 56);
}

inline uintptr_t address_of(const void* p) { return reinterpret_cast<uintptr_t>(p); }

// A well-mixed 32-bit hash of an index: priorities of tree nodes, seeds.
constexpr uint32_t mix32(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  x ^= x >> 16;
  return x;
}

}  // namespace pm
