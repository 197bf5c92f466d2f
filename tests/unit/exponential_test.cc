#include "base/exponential.h"

#include <cmath>

#include "tests/catch.h"

namespace {

using namespace pm;

TEST_CASE("logarithms and exponentials agree with the C library's") {
  for (double x = 1e-300; x < 1e300; x *= 1.37) {
    INFO(x);
    CHECK(std::abs(natural_log(x) - std::log(x)) <= 1e-14 * (1 + std::abs(std::log(x))));
  }
  for (double x = 1e-12; x < 100; x *= 1.09) {
    INFO(x);
    CHECK(std::abs(one_minus_exp(x) + std::expm1(-x)) <= 1e-13 * -std::expm1(-x));
  }
  CHECK(one_minus_exp(0) == 0);
  CHECK(natural_log(1) == 0);
}

}  // namespace
