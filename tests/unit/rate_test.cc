#include "observe/rate.h"

#include "tests/catch.h"

using namespace pm;

namespace {

constexpr uint64_t kMs = 1000000;
constexpr uint64_t kMiB = 1 << 20;

struct Process {
  SamplingRate rate;
  Sample sample{};
  uint32_t delay = 0;

  Process() {
    rate.configure({100, 500, 10000});
    sample.time_ns = 1;
    sample.limit_bytes = kNoLimit;
    sample.usage_bytes = sample.resident_bytes = 100 * kMiB;
    delay = rate.next(sample);
  }
  uint32_t step(uint64_t grown, uint64_t allocated) {
    sample.time_ns += delay * kMs;
    sample.usage_bytes += grown;
    sample.resident_bytes += grown;
    sample.heap.allocated_bytes += allocated;
    return delay = rate.next(sample);
  }
};

}  // namespace

TEST_CASE("an active process without a limit is sampled twice a second") {
  Process p;
  CHECK(p.delay == 500);
  CHECK(p.step(50 * kMiB, 50 * kMiB) == 500);
  CHECK(p.step(0, 10 * kMiB) == 500);
}

TEST_CASE("an idle process is sampled ever more rarely, and at once more often when it wakes") {
  Process p;
  CHECK(p.step(0, 0) == 1000);
  CHECK(p.step(0, 0) == 2000);
  CHECK(p.step(0, 100) == 4000);  // a heartbeat's worth
  CHECK(p.step(0, 0) == 8000);
  CHECK(p.step(0, 0) == 10000);
  CHECK(p.step(0, 0) == 10000);
  CHECK(p.step(0, 64 * kMiB) == 500);
}

TEST_CASE("somebody else's growth in the same group is activity") {
  Process p;
  p.sample.usage_bytes += 64 * kMiB;
  p.sample.time_ns += 500 * kMs;
  CHECK(p.rate.next(p.sample) == 500);
}

TEST_CASE("growth that nears the limit is sampled faster") {
  Process p;
  p.sample.limit_bytes = 1100 * kMiB;
  p.step(0, kMiB);
  // 20 MiB/s with some 990 MiB left: 50 s, a sample each 500 ms.
  CHECK(p.step(10 * kMiB, 10 * kMiB) == 500);
  // 50 MiB in 500 ms: 100 MiB/s, 940 MiB left: 9.4 s / 64.
  const uint32_t delay = p.step(50 * kMiB, 50 * kMiB);
  CHECK((delay >= 140 && delay <= 150));
  CHECK(p.step(900 * kMiB, 900 * kMiB) == 100);
  // Beyond the limit, too.
  CHECK(p.step(400 * kMiB, 400 * kMiB) == 100);
}

TEST_CASE("idle near the limit is watched more closely") {
  Process p;
  p.sample.limit_bytes = 110 * kMiB;
  p.step(0, kMiB);
  for (int i = 0; i < 10; ++i) p.step(0, 0);
  CHECK(p.delay == 2500);
}

TEST_CASE("a clock that stands still or goes back gives the usual rate") {
  Process p;
  p.step(0, 0);
  p.sample.usage_bytes += 100 * kMiB;
  CHECK(p.rate.next(p.sample) == 500);
  p.sample.time_ns = 0;
  CHECK(p.rate.next(p.sample) == 500);
  p.sample.time_ns = UINT64_MAX;
  p.sample.usage_bytes = UINT64_MAX;
  p.sample.limit_bytes = UINT64_MAX - 1;
  const uint32_t delay = p.rate.next(p.sample);
  CHECK((delay >= 100 && delay <= 10000));
}

TEST_CASE("options out of order are put in order") {
  SamplingRate rate;
  rate.configure({0, 0, 0});
  Sample sample{};
  sample.limit_bytes = kNoLimit;
  CHECK(rate.next(sample) >= 1);
}
