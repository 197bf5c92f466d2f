#include "preload/launcher/profile_estimate.h"

#include <random>

#include "tests/catch.h"

namespace {

using namespace pm;

TEST_CASE("a sample stands for one over the chance of being sampled") {
  // 1 / (1 - exp(-x)), from a table: x = 1 -> 1.5819767, x = 0.5 -> 2.5414941, x = 2 -> 1.1565176.
  CHECK(objects_per_sample(524288, 524288) == Approx(1.5819767).epsilon(1e-7));
  CHECK(objects_per_sample(262144, 524288) == Approx(2.5414941).epsilon(1e-7));
  CHECK(objects_per_sample(1048576, 524288) == Approx(1.1565176).epsilon(1e-7));
  // Small objects: the period over the size, and half an object more.
  CHECK(objects_per_sample(16, 524288) == Approx(524288.0 / 16 + 0.5).epsilon(1e-9));
  // Objects far beyond the period are all sampled.
  CHECK(objects_per_sample(uint64_t{1} << 30, 524288) == 1);
}

TEST_CASE("with a period of one, counts are exact") {
  const Amount amount = estimate(7, 16, 1);
  CHECK(amount.objects.value == 7);
  CHECK(amount.bytes.value == 112);
  CHECK(amount.objects.error() == 0);
  CHECK(amount.bytes.error() == 0);
}

TEST_CASE("the error is that of a binomial count") {
  // q = 1 - exp(-1) = 0.63212; 100 samples: sqrt(100 (1 - q)) / q = 9.59517 objects.
  const Amount amount = estimate(100, 4096, 4096);
  CHECK(amount.objects.value == Approx(158.19767));
  CHECK(amount.objects.error() == Approx(9.59517).epsilon(1e-5));
  CHECK(amount.bytes.value == Approx(158.19767 * 4096));
  CHECK(amount.bytes.error() == Approx(9.59517 * 4096).epsilon(1e-5));
}

TEST_CASE("sums and differences add their variances") {
  Amount sum = estimate(100, 4096, 4096);
  sum += estimate(100, 4096, 4096);
  CHECK(sum.objects.value == Approx(2 * 158.19767));
  CHECK(sum.objects.error() == Approx(std::sqrt(2.0) * 9.59517).epsilon(1e-5));
  sum -= estimate(200, 4096, 4096);
  CHECK(sum.objects.value == Approx(0).margin(1e-9));
  CHECK(sum.objects.error() == Approx(2 * 9.59517).epsilon(1e-5));
}

TEST_CASE("every count of a site is scaled by its size") {
  ProfileSite site = {4096, 100, 50, 60, 10, {1, 2, 3, 4, 5, 6, 7, 22}, {1}};
  const Amounts amounts = estimate(site, 4096);
  CHECK(amounts[Weight::alloc].objects.value == Approx(158.19767));
  CHECK(amounts[Weight::inuse].objects.value == Approx(79.098835));
  CHECK(amounts[Weight::peak].objects.value == Approx(94.918602));
  CHECK(amounts[Weight::temporary].objects.value == Approx(15.819767));
  CHECK(amounts.live_by_age[7].bytes.value == Approx(22 * 1.5819767 * 4096));
}

// What the library does, played: allocations of one size, a sample at each point of a Poisson process over their bytes.
TEST_CASE("estimates of sampled allocations are right within their errors") {
  std::mt19937_64 random(1);
  constexpr uint64_t kPeriod = 10000;
  constexpr unsigned kObjects = 100000;
  for (uint64_t size : {100u, 1000u, 10000u, 50000u}) {
    CAPTURE(size);
    std::exponential_distribution<double> gap(1.0 / kPeriod);
    double left = gap(random);
    uint64_t samples = 0;
    for (unsigned i = 0; i < kObjects; ++i) {
      left -= static_cast<double>(size);
      if (left > 0) continue;
      ++samples;
      left = gap(random);
    }
    const Estimate objects = estimate(samples, size, kPeriod).objects;
    CHECK(std::fabs(objects.value - kObjects) < 4 * objects.error());
    // And the errors are not so wide that anything would pass.
    CHECK(objects.error() < 0.04 * kObjects);
  }
}

}  // namespace
