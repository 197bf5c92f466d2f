#include "reclaim/leak.h"

#include <cmath>
#include <functional>
#include <memory>

#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kMiB = 1 << 20;

// Runs one class for `seconds` at two looks a second; the class under test is row 5.
struct Run {
  const std::unique_ptr<LeakWatch> owner = std::make_unique<LeakWatch>();
  LeakWatch& watch = *owner;
  uint64_t growth = 0;
  uint32_t score(const std::function<double(double)>& mebibytes, double seconds) {
    uint64_t live[kLeakRows] = {};
    for (double t = 0; t <= seconds; t += 0.5) {
      live[5] = static_cast<uint64_t>(mebibytes(t) * static_cast<double>(kMiB));
      live[7] = 40 * kMiB;
      watch.add(static_cast<uint64_t>(t * 1e9) + 1'000'000'000, live, 20);
    }
    unsigned row = 0;
    const uint32_t best = watch.worst(&row, &growth);
    if (best != 0) CHECK(row == 5);
    return best;
  }
};

TEST_CASE("a steady rise is a leak, the longer the surer") {
  const auto leak = [](double t) { return 10 + t * 0.2; };
  const uint32_t early = Run().score(leak, 150);
  Run run;
  const uint32_t late = run.score(leak, 300);
  CHECK(early > 0);
  CHECK(late > early);
  CHECK(late > 800);
  CHECK(run.growth > 30 * kMiB);
}

TEST_CASE("a leak under a saw-tooth is one all the same") {
  const auto saw = [](double t) { return 50 + t * 0.2 + std::fmod(t, 10) * 4; };
  CHECK(Run().score(saw, 300) > 500);
}

TEST_CASE("what comes and goes is none") {
  CHECK(Run().score([](double) { return 100.0; }, 600) == 0);
  CHECK(Run().score([](double t) { return 100 + 50 * std::sin(t / 3); }, 600) < 150);
  CHECK(Run().score([](double t) { return std::fmod(t, 20) < 10 ? 400.0 : 100.0; }, 600) == 0);
}

TEST_CASE("growth all at once is a program that starts, not a leak") {
  CHECK(Run().score([](double t) { return t < 60 ? 10.0 : 300.0; }, 300) < 200);
  // And it is forgotten.
  CHECK(Run().score([](double t) { return t < 60 ? 10.0 : 300.0; }, 600) == 0);
}

TEST_CASE("nobody minds a few kilobytes") {
  CHECK(Run().score([](double t) { return 0.01 + t * 0.001; }, 600) == 0);
}

TEST_CASE("a clock that jumps back starts a window anew and breaks nothing") {
  const std::unique_ptr<LeakWatch> owner = std::make_unique<LeakWatch>();
  LeakWatch& watch = *owner;
  uint64_t live[kLeakRows] = {};
  for (uint64_t t : {100, 50, 200, 10, 400, 401, 40}) {
    live[1] += kMiB;
    watch.add(t * 1'000'000'000, live, 4);
  }
  unsigned row = 0;
  uint64_t growth = 0;
  CHECK(watch.worst(&row, &growth) <= 1000);
}

}  // namespace
