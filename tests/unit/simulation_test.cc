#include "preload/launcher/simulation.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <sstream>

#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kMiB = uint64_t{1} << 20;
const PlanOptions kPlanDefaults = {5, true, true};

// The cheapest way through a curve of heights 0..3, by trying every resident size at every step.
double cheapest(const std::vector<int>& demand, double hold, double refault, double decommit) {
  constexpr int kHeights = 4;
  std::vector<double> cost(kHeights, INFINITY);
  cost[0] = 0;
  for (const int used : demand) {
    std::vector<double> next(kHeights, INFINITY);
    for (int before = 0; before < kHeights; ++before) {
      const int touched = std::max(before, used);
      const double arrived = cost[static_cast<size_t>(before)] + (touched - before) * refault;
      for (int kept = used; kept <= touched; ++kept) {
        double& best = next[static_cast<size_t>(kept)];
        best = std::min(best, arrived + (touched - kept) * decommit + (kept - used) * hold);
      }
    }
    cost = next;
  }
  return *std::min_element(cost.begin(), cost.end());
}

TEST_CASE("the oracle is what exhaustive search finds") {
  std::mt19937_64 random(4);
  for (int round = 0; round < 500; ++round) {
    const Prices prices = {random() % 1000 * 1000, 1000, random() % 200 * 1000, 0, 1000 + random() % 300'000};
    std::vector<int> demand(1 + random() % 12);
    Curve curve;
    double time = 0;
    for (int& height : demand) {
      height = static_cast<int>(random() % 4);
      const uint64_t bytes = static_cast<uint64_t>(height) * kMiB;
      curve.points.push_back({time, bytes, bytes, kCurveWithoutLimit});
      time += 1;
    }
    // A curve of one point has no length.
    const double hold = demand.size() > 1 ? static_cast<double>(prices.hold_ns_per_mib_second) * 1e-9 : 0;
    const double best = cheapest(demand, hold, static_cast<double>(prices.refault_ns_per_mib) * 1e-9,
                                 static_cast<double>(prices.decommit_ns_per_mib) * 1e-9);
    CHECK(oracle_cost(curve, prices, false).total() == Approx(best).margin(1e-12));
  }
}

TEST_CASE("no policy is cheaper than the oracle") {
  for (const std::string& family : curve_families()) {
    const Curve curve = make_curve({family, 77, 300, 4});
    for (const Backing& backing : backings()) {
      SimulationSettings settings;
      settings.plan = kPlanDefaults;
      const Simulation simulation = simulate_curve(curve, backing, settings);
      for (const Outcome& outcome : simulation.outcomes) {
        INFO(family << ", " << backing.name << ", " << outcome.policy);
        CHECK(outcome.over_oracle >= 1 - 1e-9);
        CHECK(outcome.cost.first_touch + outcome.cost.refault >= simulation.oracle.cost.first_touch * (1 - 1e-9));
      }
    }
  }
}

// Seeds that nothing was tuned on. Bursts on memory that the host takes back are the exception: their arrivals are
// memoryless and as far apart as the break-even time, so no policy without a view of the future comes near the oracle:
// the best stationary one, given the process's true statistics, was found to pay 1.34 of it.
TEST_CASE("cost stays below 1.3 of the oracle's on every family") {
  for (const std::string& family : curve_families()) {
    for (const Backing& backing : backings()) {
      double ours = 0;
      double oracle = 0;
      for (uint64_t seed = 201; seed < 204; ++seed) {
        SimulationSettings settings;
        settings.plan = kPlanDefaults;
        const Simulation simulation = simulate_curve(make_curve({family, seed, 1800, 2}), backing, settings);
        ours += simulation.outcomes[0].cost.total();
        oracle += simulation.oracle.cost.total();
      }
      INFO(family << ", " << backing.name);
      CHECK(ours / oracle <= (family == "bursts" && backing.name == "host" ? 1.45 : 1.3));
    }
  }
}

// Two processes in anti-phase share a limit that holds what both use, but not what each has used.
TEST_CASE("memory is given back before another process needs it") {
  Curve curve;
  for (int i = 0; i < 4500; ++i) {
    const bool high = i / 80 % 2 == 0;
    const uint64_t used = (high ? 400 : 100) * kMiB;
    const uint64_t others = (high ? 100 : 400) * kMiB;
    curve.points.push_back({i * 0.1, used, used + others, 620 * kMiB});
  }
  for (const Backing& backing : backings()) {
    SimulationSettings settings;
    settings.plan = kPlanDefaults;
    const Simulation simulation = simulate_curve(curve, backing, settings);
    INFO(backing.name);
    CHECK(simulation.outcomes[0].over_limit_s == 0);
    const auto& peaks = simulation.outcomes.back();
    CHECK(peaks.over_limit_s > 0);
  }
}

TEST_CASE("a curve ends where what is in use meets the limit") {
  Curve curve;
  for (int i = 0; i < 10; ++i)
    curve.points.push_back({i * 1.0, static_cast<uint64_t>(i) * kMiB, static_cast<uint64_t>(i + 1) * kMiB, 5 * kMiB});
  CHECK(until_limit(curve).points.size() == 5);
  for (CurvePoint& point : curve.points) point.limit_bytes = kCurveWithoutLimit;
  CHECK(until_limit(curve).points.size() == 10);
}

TEST_CASE("the same curve costs the same, and curves of one point are played") {
  const Curve curve = make_curve({"mixture", 5, 200, 2});
  SimulationSettings settings;
  settings.plan = kPlanDefaults;
  settings.keep_moments = true;
  const Simulation a = simulate_curve(curve, backings()[1], settings);
  const Simulation b = simulate_curve(curve, backings()[1], settings);
  CHECK(a.outcomes[0].cost.total() == b.outcomes[0].cost.total());
  CHECK(a.moments.size() == curve.points.size());
  uint64_t sum = 0;
  for (const Moment& moment : a.moments) {
    CHECK(moment.resident_bytes >= moment.used_bytes);
    for (const uint64_t bytes : moment.released_bytes) sum += bytes;
  }
  CHECK(std::abs(static_cast<double>(sum) - a.outcomes[0].decommitted_bytes) <= 1e-6 * static_cast<double>(sum));
  Curve one;
  one.points.push_back({0, kMiB, kMiB, kCurveWithoutLimit});
  CHECK(simulate_curve(one, backings()[0], settings).outcomes[0].over_oracle == Approx(1));
}

}  // namespace
