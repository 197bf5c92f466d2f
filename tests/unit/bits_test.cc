#include "base/bits.h"

#include "tests/catch.h"

namespace {

using namespace pm;

TEST_CASE("powers of two") {
  CHECK_FALSE(is_power_of_two(0));
  for (unsigned n = 0; n < 64; ++n) {
    const size_t power = size_t{1} << n;
    CHECK(is_power_of_two(power));
    CHECK(is_power_of_two(power + 1) == (n == 0));
    CHECK(log2_floor(power) == n);
    CHECK(log2_floor(power | 1) == n);
    CHECK(log2_floor(power + (power - 1)) == n);
  }
}

TEST_CASE("alignment") {
  CHECK(align_up(0, 16) == 0);
  CHECK(align_up(1, 16) == 16);
  CHECK(align_up(16, 16) == 16);
  CHECK(align_up(SIZE_MAX - 15, 16) == SIZE_MAX - 15);
  CHECK(align_down(31, 16) == 16);
  CHECK(align_down(SIZE_MAX, 4096) == SIZE_MAX - 4095);
  CHECK(is_aligned(4096, 4096));
  CHECK_FALSE(is_aligned(4097, 4096));
  CHECK(is_aligned(7, 1));
}

TEST_CASE("division upward does not overflow") {
  CHECK(divide_up(0, 3) == 0);
  CHECK(divide_up(1, 3) == 1);
  CHECK(divide_up(3, 3) == 1);
  CHECK(divide_up(SIZE_MAX, 2) == (SIZE_MAX >> 1) + 1);
  CHECK(divide_up(SIZE_MAX, 1) == SIZE_MAX);
}

TEST_CASE("low bits") {
  CHECK(low_bits(0) == 0);
  CHECK(low_bits(1) == 1);
  CHECK(low_bits(63) == UINT64_MAX >> 1);
  CHECK(low_bits(64) == UINT64_MAX);
}

// A bijection: neighbours never get the same priority.
TEST_CASE("mixed indexes differ, also in their high bits") {
  uint32_t high_bits[256] = {};
  for (uint32_t i = 0; i < 65536; ++i) {
    ++high_bits[mix32(i) >> 24];
    if (mix32(i) == mix32(i + 1)) FAIL(i);
  }
  for (uint32_t n : high_bits) CHECK((n > 128 && n < 512));
}

}  // namespace
