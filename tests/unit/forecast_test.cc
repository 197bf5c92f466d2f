// What the whole Forecaster promises, on simple series and on the simulator's curves: properties, not figures.
#include "forecast/forecast.h"

#include <cmath>
#include <functional>
#include <memory>
#include <random>

#include "preload/launcher/curves.h"
#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kSecondNs = 1'000'000'000;
constexpr uint64_t kMega = 1'000'000;

Sample sample_at(double seconds, uint64_t used, uint64_t limit = kNoLimit) {
  Sample sample = {};
  sample.time_ns = kSecondNs + static_cast<uint64_t>(seconds * 1e9);
  sample.heap.used_bytes = used;
  sample.usage_bytes = used;
  sample.limit_bytes = limit;
  return sample;
}

// Feeds value(t) in megabytes, twice a second.
void feed(Forecaster& forecaster, double from, double to, const std::function<double(double)>& value,
          uint64_t limit = kNoLimit) {
  for (double time = from; time < to; time += 0.5) {
    forecaster.add(sample_at(time, static_cast<uint64_t>(value(time) * kMega), limit));
  }
}

void check_sane(const Forecast& f) {
  REQUIRE(f.confidence_permille <= 1000);
  for (unsigned h = 0; h < kHorizons; ++h) {
    for (const Prediction& p : {f.demand[h], f.usage[h]}) {
      REQUIRE(p.low <= p.bytes);
      REQUIRE(p.bytes <= p.high);
      REQUIRE(index(p.model) < kModels);
    }
    REQUIRE(f.score.coverage_permille[h] <= 1000);
  }
  REQUIRE(f.earliest_seconds <= f.seconds_to_limit);
  REQUIRE(f.seconds_to_limit <= f.latest_seconds);
  REQUIRE(f.score.true_alarms + f.score.false_alarms <= f.score.alarms);
}

struct Outcome {
  double lead = -1;  // seconds that the alarm had stood when the limit was met; -1: it was not met
  unsigned alarms = 0;
};

Outcome run(const Curve& curve) {
  auto forecaster = std::make_unique<Forecaster>();
  Outcome outcome;
  double since = -1;
  for (const CurvePoint& point : curve.points) {
    if (point.usage_bytes >= point.limit_bytes) {
      outcome.lead = since < 0 ? 0 : point.time_s - since;
      break;
    }
    Sample sample = sample_at(point.time_s, point.used_bytes, point.limit_bytes);
    sample.usage_bytes = point.usage_bytes;
    forecaster->add(sample);
    const bool alarm = forecaster->current().alarm;
    if (alarm && since < 0) ++outcome.alarms;
    if (!alarm) since = -1;
    if (alarm && since < 0) since = point.time_s;
    check_sane(forecaster->current());
  }
  return outcome;
}

TEST_CASE("a fresh forecaster knows nothing and says so") {
  auto forecaster = std::make_unique<Forecaster>();
  CHECK(forecaster->current().confidence_permille == 0);
  forecaster->add(sample_at(0, 100 * kMega, 500 * kMega));
  const Forecast& f = forecaster->current();
  CHECK(f.confidence_permille == 0);
  CHECK(f.demand[0].bytes == 100 * kMega);
  CHECK(f.seconds_to_limit == kNever);
  CHECK_FALSE(f.alarm);
  check_sane(f);
}

TEST_CASE("its memory is a few tens of KiB") { CHECK(sizeof(Forecaster) <= 70 * 1024); }

TEST_CASE("a constant is forecast exactly, with confidence, and is stable") {
  for (const uint64_t value : {uint64_t{0}, uint64_t{1}, 123 * kMega, uint64_t{1} << 62}) {
    auto forecaster = std::make_unique<Forecaster>();
    for (int i = 0; i < 1200; ++i) forecaster->add(sample_at(i / 2.0, value));
    const Forecast& f = forecaster->current();
    for (const Prediction& p : f.demand) {
      // Histories are floats: seven digits.
      CHECK(std::fabs(static_cast<double>(p.bytes) - static_cast<double>(value)) <= 1e-6 * static_cast<double>(value));
      CHECK(static_cast<double>(p.high - p.low) <= 1e-6 * static_cast<double>(value));
    }
    CHECK(f.confidence_permille == 1000);
    CHECK(f.trend == Trend::stable);
    CHECK(f.growth_bytes_per_second == 0);
    CHECK(f.season_seconds == 0);
  }
}

TEST_CASE("a line is carried on, and meets its limit when it does") {
  auto forecaster = std::make_unique<Forecaster>();
  // 100 MB and 0.5 MB/s: 600 MB after 1000 s.
  feed(
      *forecaster, 0, 700, [](double t) { return 100 + 0.5 * t; }, 600 * kMega);
  const Forecast& f = forecaster->current();
  for (unsigned h = 0; h < kHorizons; ++h) {
    const double expected = 100 + 0.5 * (699.5 + kHorizonSeconds[h]);
    CHECK(std::fabs(static_cast<double>(f.demand[h].bytes) / kMega - expected) < 0.5);
  }
  CHECK(std::fabs(f.seconds_to_limit - 300.0) < 10);
  CHECK(f.trend == Trend::rising);
  CHECK(std::fabs(static_cast<double>(f.growth_bytes_per_second) - 5e5) < 1e4);
  CHECK_FALSE(f.alarm);
  feed(
      *forecaster, 700, 960, [](double t) { return 100 + 0.5 * t; }, 600 * kMega);
  CHECK(f.alarm);
  CHECK(f.trend == Trend::critical);
  CHECK(f.score.alarms == 1);
  feed(
      *forecaster, 960, 1010, [](double t) { return 100 + 0.5 * t; }, 600 * kMega);
  CHECK(f.score.true_alarms == 1);
  CHECK(f.score.false_alarms == 0);
  CHECK(f.seconds_to_limit == 0);
}

TEST_CASE("falling is told from rising") {
  auto forecaster = std::make_unique<Forecaster>();
  feed(*forecaster, 0, 300, [](double t) { return 900 - t; });
  CHECK(forecaster->current().trend == Trend::falling);
  CHECK(forecaster->current().growth_bytes_per_second < -900000);
}

TEST_CASE("the thresholds of the trend are options") {
  auto forecaster = std::make_unique<Forecaster>();
  forecaster->configure({.critical_seconds = 600, .stable_permille = 900});
  feed(
      *forecaster, 0, 600, [](double t) { return 100 + 0.5 * t; }, 1000 * kMega);
  CHECK(forecaster->current().trend == Trend::stable);
  feed(
      *forecaster, 600, 1400, [](double t) { return 100 + 0.5 * t; }, 1000 * kMega);
  CHECK(forecaster->current().trend == Trend::critical);
}

TEST_CASE("a season is found and foreseen") {
  auto forecaster = std::make_unique<Forecaster>();
  const auto square = [](double t) { return std::fmod(t, 40) < 20 ? 100.0 : 400.0; };
  feed(*forecaster, 0, 600, square, 500 * kMega);
  CHECK(forecaster->current().season_seconds == 40);
  double worst = 0;
  for (double t = 600; t < 680; t += 0.5) {
    feed(*forecaster, t, t + 0.5, square, 500 * kMega);
    for (unsigned h = 0; h < kHorizons; ++h) {
      const double said = static_cast<double>(forecaster->current().demand[h].bytes) / kMega;
      worst = std::max(worst, std::fabs(said - square(t + kHorizonSeconds[h])));
    }
  }
  CHECK(worst < 1);
}

TEST_CASE("a square wave below its limit gives no alarm") {
  for (const double period : {4.0, 13.0, 40.0, 90.0, 400.0}) {
    auto forecaster = std::make_unique<Forecaster>();
    feed(
        *forecaster, 0, 1800, [=](double t) { return std::fmod(t, period) < period / 2 ? 100.0 : 470.0; }, 500 * kMega);
    CAPTURE(period);
    CHECK(forecaster->current().score.alarms == 0);
    CHECK(forecaster->current().seconds_to_limit > 120);
  }
}

TEST_CASE("a leak, a ramp and a leak under a saw are seen 45 s ahead") {
  for (const char* family : {"leak", "ramp", "saw_leak"}) {
    unsigned early = 0;
    constexpr unsigned kSeeds = 5;
    for (uint64_t seed = 201; seed < 201 + kSeeds; ++seed) {
      const Outcome outcome = run(make_curve({family, seed, 1800, 2}));
      REQUIRE(outcome.lead >= 0);
      early += outcome.lead >= 45;
    }
    CAPTURE(family);
    CHECK(early > kSeeds / 2);
  }
}

TEST_CASE("growing peaks of a season are carried to the limit") {
  auto forecaster = std::make_unique<Forecaster>();
  const auto growing = [](double t) { return std::fmod(t, 40) < 20 ? 100.0 : 200 + 8 * std::floor(t / 40); };
  // The 38th peak, from 1500 s on, is the first above 495 MB.
  feed(*forecaster, 0, 1470, growing, 495 * kMega);
  CHECK(forecaster->current().seconds_to_limit <= 60);
  CHECK(forecaster->current().alarm);
}

TEST_CASE("curves that stay below their limit give few alarms") {
  unsigned alarms = 0;
  double hours = 0;
  for (const char* family : {"steady", "square_20", "square_90", "sine", "saw", "random_walk", "mixture"}) {
    for (uint64_t seed = 301; seed < 304; ++seed) {
      alarms += run(make_curve({family, seed, 1800, 2})).alarms;
      hours += 0.5;
    }
  }
  CHECK(alarms < 2 * hours);
}

TEST_CASE("the interval is calibrated on noise") {
  auto forecaster = std::make_unique<Forecaster>();
  std::mt19937_64 random(7);
  std::normal_distribution<double> noise(0, 10);
  double inside[kHorizons] = {};
  std::vector<Forecast> said;
  std::vector<double> values;
  for (int i = 0; i < 6000; ++i) {
    values.push_back(300 + noise(random));
    forecaster->add(sample_at(i / 2.0, static_cast<uint64_t>(values.back() * kMega)));
    said.push_back(forecaster->current());
  }
  for (unsigned h = 0; h < kHorizons; ++h) {
    const size_t ahead = kHorizonSeconds[h] * 2;
    for (size_t i = 0; i + ahead < values.size(); ++i) {
      const double value = values[i + ahead] * kMega;
      inside[h] +=
          value >= static_cast<double>(said[i].demand[h].low) && value <= static_cast<double>(said[i].demand[h].high);
    }
    const double share = inside[h] / static_cast<double>(values.size() - ahead);
    CHECK(share > 0.85);
    CHECK(share < 0.95);
    // What it says of itself agrees.
    CHECK(std::fabs(said.back().score.coverage_permille[h] / 1000.0 - share) < 0.08);
    CHECK(said.back().score.error_permille[h] < said.back().score.naive_error_permille[h]);
  }
}

TEST_CASE("bands reach as far as a surge leads that was never seen before") {
  // Fifteen seconds into a ramp no forecast made on it has come due.
  auto forecaster = std::make_unique<Forecaster>();
  const auto ramp = [](double t) { return t < 600 ? 150 : 150 + 2 * (t - 600); };
  feed(*forecaster, 0, 615, ramp);
  CHECK(forecaster->current().demand[2].high >= (180 + 2 * 120) * kMega);
  // A saw does it all the time.
  forecaster = std::make_unique<Forecaster>();
  const auto saw = [](double t) { return 150 + 2 * std::fmod(t, 40); };
  feed(*forecaster, 0, 615, saw);
  CHECK(forecaster->current().demand[2].high < (180 + 2 * 120) * kMega);
}

TEST_CASE("the limit may change at any time") {
  auto forecaster = std::make_unique<Forecaster>();
  const auto leak = [](double t) { return 100 + 0.5 * t; };
  feed(*forecaster, 0, 400, leak, 310 * kMega);
  CHECK(forecaster->current().alarm);
  const Forecast& f = forecaster->current();
  SECTION("further up: the alarm ends, and was not false") {
    feed(*forecaster, 400, 800, leak, 5000 * kMega);
    CHECK_FALSE(f.alarm);
    CHECK(f.score.false_alarms == 0);
    CHECK(f.seconds_to_limit > 1000);
  }
  SECTION("below usage: it is met") {
    feed(*forecaster, 400, 401, leak, 50 * kMega);
    CHECK(f.seconds_to_limit == 0);
    CHECK(f.trend == Trend::critical);
  }
  SECTION("to none") {
    feed(*forecaster, 400, 401, leak);
    CHECK(f.seconds_to_limit == kNever);
    CHECK_FALSE(f.alarm);
  }
  SECTION("unreadable") {
    Sample sample = sample_at(400, 300 * kMega, 310 * kMega);
    sample.missing = 1U << static_cast<unsigned>(Source::limit);
    forecaster->add(sample);
    CHECK(f.seconds_to_limit == kNever);
  }
}

TEST_CASE("without usage demand is forecast all the same") {
  auto forecaster = std::make_unique<Forecaster>();
  for (int i = 0; i < 600; ++i) {
    Sample sample = sample_at(i / 2.0, (100 + static_cast<uint64_t>(i)) * kMega, 150 * kMega);
    sample.usage_bytes = 0;
    sample.missing = 1U << static_cast<unsigned>(Source::usage);
    forecaster->add(sample);
  }
  const Forecast& f = forecaster->current();
  CHECK(f.seconds_to_limit == kNever);
  CHECK(f.trend == Trend::rising);
  CHECK(std::fabs(static_cast<double>(f.demand[1].bytes) / kMega - (699 + 120)) < 5);
}

TEST_CASE("irregular samples give the forecasts of regular ones") {
  auto forecaster = std::make_unique<Forecaster>();
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> gap(0.1, 12);
  double time = 0;
  for (; time < 800; time += gap(random)) {
    forecaster->add(sample_at(time, static_cast<uint64_t>((100 + 0.5 * time) * kMega), 600 * kMega));
  }
  const Forecast& f = forecaster->current();
  CHECK(std::fabs(f.seconds_to_limit - (1000 - time)) < 30);
  CHECK(std::fabs(static_cast<double>(f.growth_bytes_per_second) - 5e5) < 5e4);
}

// Two, four and ten steps of the grid at a time.
TEST_CASE("sparse samples are judged and forecast by as well") {
  for (const double gap : {1.0, 2.0, 5.0}) {
    for (const double start : {0.0, gap / 2}) {
      auto forecaster = std::make_unique<Forecaster>();
      double time = start;
      if (start > 0) forecaster->add(sample_at(0, 100 * kMega, 900 * kMega));
      for (; time < 900; time += gap) {
        forecaster->add(sample_at(time, static_cast<uint64_t>((100 + 0.5 * time) * kMega), 900 * kMega));
      }
      const Forecast& f = forecaster->current();
      for (unsigned h = 0; h < kHorizons; ++h) {
        const double expected = 100 + 0.5 * (time - gap + kHorizonSeconds[h]);
        CAPTURE(gap, start, kHorizonSeconds[h]);
        CHECK(std::fabs(static_cast<double>(f.demand[h].bytes) / kMega - expected) < 1);
        CHECK(std::fabs(static_cast<double>(f.usage[h].bytes) / kMega - expected) < 1);
      }
      CHECK(f.confidence_permille > 500);
    }
  }
}

// A curve too slow for a season and too bent for a line: the smoothed trend does better than the last value.
TEST_CASE("a trend is one of steps, not of samples") {
  auto forecaster = std::make_unique<Forecaster>();
  for (double time = 0; time < 3000; time += 5) {
    const double value = 300 + 200 * std::sin(time / 1500 * 2 * 3.14159);
    forecaster->add(sample_at(time, static_cast<uint64_t>(value * kMega)));
  }
  const ForecastScore& score = forecaster->current().score;
  CHECK(score.error_permille[1] < score.naive_error_permille[1] * 0.98);
}

TEST_CASE("clocks that stand, go back or leap") {
  auto forecaster = std::make_unique<Forecaster>();
  feed(
      *forecaster, 1000, 1300, [](double) { return 200.0; }, 500 * kMega);
  for (int i = 0; i < 100; ++i) forecaster->add(sample_at(1299.5, 200 * kMega, 500 * kMega));
  CHECK(forecaster->current().demand[1].bytes == 200 * kMega);
  feed(
      *forecaster, 10, 200, [](double) { return 200.0; }, 500 * kMega);
  CHECK(forecaster->current().demand[1].bytes == 200 * kMega);
  // Suspended for a day; what comes after has nothing to do with what was.
  feed(
      *forecaster, 90000, 90001, [](double) { return 400.0; }, 500 * kMega);
  check_sane(forecaster->current());
  CHECK(forecaster->current().demand[0].bytes == 400 * kMega);
  CHECK_FALSE(forecaster->current().alarm);
  forecaster->add(sample_at(1e10, 400 * kMega));
  forecaster->add(sample_at(0, 400 * kMega));
  check_sane(forecaster->current());
}

TEST_CASE("rates follow the totals") {
  auto forecaster = std::make_unique<Forecaster>();
  Sample sample = {};
  for (int i = 0; i < 400; ++i) {
    sample = sample_at(i / 2.0, 100 * kMega);
    sample.heap.allocated_bytes = static_cast<uint64_t>(i) * 5 * kMega;
    sample.heap.freed_bytes = static_cast<uint64_t>(i) * 4 * kMega;
    forecaster->add(sample);
  }
  const Forecast& f = forecaster->current();
  CHECK(f.allocation_bytes_per_second == 10 * kMega);
  CHECK(f.free_bytes_per_second == 8 * kMega);
  CHECK(f.allocation_forecast == 10 * kMega);
  CHECK(f.free_forecast == 8 * kMega);
}

TEST_CASE("reset forgets all but the options") {
  auto forecaster = std::make_unique<Forecaster>();
  forecaster->configure({.critical_seconds = 1000, .stable_permille = 20});
  feed(
      *forecaster, 0, 600, [](double t) { return 100 + 0.5 * t; }, 450 * kMega);
  forecaster->reset();
  CHECK(forecaster->current().confidence_permille == 0);
  CHECK(forecaster->current().score.judged == 0);
  feed(
      *forecaster, 0, 300, [](double t) { return 100 + 0.5 * t; }, 500 * kMega);
  CHECK(forecaster->current().trend == Trend::critical);
}

// Any samples at all: nothing traps (with the sanitizers), hangs, or says what cannot be.
TEST_CASE("garbage in, sense out") {
  std::mt19937_64 random(11);
  const auto any = [&random]() -> uint64_t {
    switch (random() % 6) {
      case 0: return 0;
      case 1: return UINT64_MAX - random() % 3;
      case 2: return (uint64_t{1} << 63) + random() % 3 - 1;
      case 3: return random();
      case 4: return random() >> (random() % 64);
      default: return 500 * kMega + random() % kMega;
    }
  };
  for (int round = 0; round < 20; ++round) {
    auto forecaster = std::make_unique<Forecaster>();
    forecaster->configure(
        {.critical_seconds = static_cast<uint32_t>(any()), .stable_permille = static_cast<uint32_t>(any())});
    uint64_t time = any();
    for (int i = 0; i < 1500; ++i) {
      time = random() % 20 == 0 ? any() : time + random() % (2 * kSecondNs);
      Sample sample = {};
      sample.time_ns = time;
      sample.heap.used_bytes = any();
      sample.heap.allocated_bytes = any();
      sample.heap.freed_bytes = any();
      sample.usage_bytes = any();
      sample.limit_bytes = random() % 3 == 0 ? kNoLimit : any();
      sample.missing = random() % 4 == 0 ? static_cast<uint32_t>(random()) : 0;
      forecaster->add(sample);
      check_sane(forecaster->current());
      if (random() % 500 == 0) forecaster->reset();
    }
  }
}

}  // namespace
