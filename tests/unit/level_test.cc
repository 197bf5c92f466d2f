#include "reclaim/level.h"

#include <random>
#include <vector>

#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kLimit = 1000 * kMiB;

constexpr uint32_t missing(Source source) { return 1u << static_cast<unsigned>(source); }

Sample sample_at(uint64_t time_ns, uint64_t usage, uint64_t limit = kLimit) {
  Sample sample = {};
  sample.time_ns = time_ns;
  sample.usage_bytes = usage;
  sample.limit_bytes = limit;
  sample.missing = missing(Source::host) | missing(Source::pressure) | missing(Source::events);
  return sample;
}

Forecast no_forecast() {
  Forecast forecast = {};
  forecast.seconds_to_limit = forecast.earliest_seconds = forecast.latest_seconds = kNever;
  return forecast;
}

// Levels of slowly moving usage, so that growth between two samples plays no part.
struct Walk {
  LevelTracker tracker;
  uint64_t time = kSecond;
  uint64_t usage = 0;

  PressureLevel to(uint64_t percent_tenths) {
    const uint64_t goal = kLimit / 1000 * percent_tenths;
    while (usage != goal) {
      const uint64_t step = kLimit / 1000;
      usage = goal > usage ? std::min(goal, usage + step) : std::max(goal, usage < step ? 0 : usage - step);
      time += kSecond;
      tracker.update(sample_at(time, usage), no_forecast());
    }
    return tracker.level();
  }
};

TEST_CASE("a level begins at its share and ends below the share beneath") {
  Walk walk;
  CHECK(walk.to(699) == PressureLevel::calm);
  CHECK(walk.to(700) == PressureLevel::moderate);
  CHECK(walk.to(601) == PressureLevel::moderate);
  CHECK(walk.to(599) == PressureLevel::calm);
  CHECK(walk.to(800) == PressureLevel::high);
  CHECK(walk.to(701) == PressureLevel::high);
  CHECK(walk.to(699) == PressureLevel::moderate);
  CHECK(walk.to(950) == PressureLevel::emergency);
  CHECK(walk.to(901) == PressureLevel::emergency);
  CHECK(walk.to(899) == PressureLevel::critical);
  CHECK(walk.to(799) == PressureLevel::high);
  CHECK(walk.to(0) == PressureLevel::calm);
}

TEST_CASE("a crossed level is seen with the sample that shows it") {
  LevelTracker tracker;
  tracker.update(sample_at(kSecond, kLimit / 10), no_forecast());
  CHECK(tracker.update(sample_at(kSecond + 1'000'000, kLimit), no_forecast()) == PressureLevel::emergency);
  CHECK(tracker.room() == 0);
}

TEST_CASE("configured shares are obeyed, bad ones refused") {
  Walk walk;
  walk.tracker.configure({{10, 20, 30, 40, 50}, {0, 120, 60, 20, 0}});
  CHECK(walk.to(210) == PressureLevel::moderate);
  CHECK(walk.to(510) == PressureLevel::emergency);
  for (const LevelOptions& bad : {LevelOptions{{60, 60, 80, 90, 95}, {0, 120, 60, 20, 0}},
                                  LevelOptions{{60, 70, 80, 90, 101}, {0, 120, 60, 20, 0}},
                                  LevelOptions{{0, 70, 80, 90, 95}, {0, 120, 60, 20, 0}},
                                  LevelOptions{{60, 70, 80, 90, 95}, {0, 20, 60, 120, 0}}}) {
    Walk other;
    other.tracker.configure(bad);
    CHECK(other.to(699) == PressureLevel::calm);
    CHECK(other.to(710) == PressureLevel::moderate);
  }
}

TEST_CASE("the forecast time to the limit enters a level, and ends with hysteresis") {
  LevelTracker tracker;
  Forecast forecast = no_forecast();
  forecast.confidence_permille = 900;
  uint64_t time = kSecond;
  const auto see = [&](uint32_t seconds) {
    forecast.seconds_to_limit = seconds;
    time += kSecond / 2;
    return tracker.update(sample_at(time, kLimit / 2), forecast);
  };
  CHECK(see(kNever) == PressureLevel::calm);
  CHECK(see(121) == PressureLevel::calm);
  CHECK(see(120) == PressureLevel::moderate);
  CHECK(see(60) == PressureLevel::high);
  CHECK(see(20) == PressureLevel::critical);
  CHECK(see(1) == PressureLevel::critical);
  for (int i = 0; i < 40; ++i) CHECK(see(39) == PressureLevel::critical);
  for (int i = 0; i < 5; ++i) CHECK(see(kNever) == PressureLevel::critical);
  for (int i = 0; i < 20; ++i) see(kNever);
  CHECK(see(kNever) == PressureLevel::calm);
  forecast.confidence_permille = 0;
  CHECK(see(1) == PressureLevel::calm);
}

TEST_CASE("a process that jumps between samples meets its levels earlier, by one level at most") {
  LevelTracker tracker;
  uint64_t time = kSecond;
  const auto see = [&](uint64_t percent) {
    time += kSecond / 10;
    return tracker.update(sample_at(time, kLimit / 100 * percent), no_forecast());
  };
  see(30);
  CHECK(see(69) == PressureLevel::moderate);  // by 39 % in a tenth of a second
  CHECK(see(71) == PressureLevel::high);
  CHECK(see(81) == PressureLevel::critical);
  CHECK(see(90) == PressureLevel::emergency);

  Walk slow;
  CHECK(slow.to(690) == PressureLevel::calm);
  CHECK(slow.to(710) == PressureLevel::moderate);
  CHECK(slow.to(810) == PressureLevel::high);
}

TEST_CASE("going up and down between the same heights is no growth") {
  LevelTracker tracker;
  uint64_t time = kSecond;
  // The first rise counts for some minutes; the same height again does not.
  for (int i = 0; i < 2000; ++i)
    tracker.update(sample_at(time += kSecond / 2, kLimit / 100 * (i / 8 % 2 ? 65 : 62)), no_forecast());
  CHECK(tracker.level() == PressureLevel::calm);
}

TEST_CASE("the kernel's own warnings make it high, unless usage is calm") {
  for (const bool stall : {false, true}) {
    LevelTracker tracker;
    Sample sample = sample_at(kSecond, kLimit / 100 * 65);
    sample.missing = missing(Source::host);
    CHECK(tracker.update(sample, no_forecast()) == PressureLevel::calm);
    sample.time_ns += kSecond;
    (stall ? sample.stall_ns : sample.limit_events) += stall ? kSecond / 5 : 1;
    CHECK(tracker.update(sample, no_forecast()) == PressureLevel::high);
    for (int i = 0; i < 11; ++i) {
      sample.time_ns += kSecond;
      tracker.update(sample, no_forecast());
    }
    CHECK(tracker.level() == PressureLevel::calm);
    sample.usage_bytes = kLimit / 2;
    sample.time_ns += kSecond;
    (stall ? sample.stall_ns : sample.limit_events) += stall ? kSecond / 2 : 5;
    CHECK(tracker.update(sample, no_forecast()) == PressureLevel::calm);
  }
}

TEST_CASE("without a limit the host's memory is one") {
  Sample sample = sample_at(kSecond, 400 * kMiB, kNoLimit);
  CHECK(effective_limit(sample) == kNoLimit);
  LevelTracker tracker;
  CHECK(tracker.update(sample, no_forecast()) == PressureLevel::calm);
  CHECK(tracker.room() == kNoLimit);
  sample.missing = 0;
  sample.host_available_bytes = 100 * kMiB;
  CHECK(effective_limit(sample) == 500 * kMiB);
  sample.time_ns += kSecond;
  CHECK(tracker.update(sample, no_forecast()) == PressureLevel::high);
  sample.missing = missing(Source::limit);
  sample.limit_bytes = 1;
  CHECK(effective_limit(sample) == 500 * kMiB);
}

TEST_CASE("a limit of zero or below usage is an emergency, not a trap") {
  for (const uint64_t limit : {uint64_t{0}, uint64_t{1}, uint64_t{99}, 10 * kMiB}) {
    LevelTracker tracker;
    CHECK(tracker.update(sample_at(kSecond, 20 * kMiB, limit), no_forecast()) == PressureLevel::emergency);
  }
}

// Usage that trembles by less than the distance between two shares changes its level at most once.
TEST_CASE("levels do not flap") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    LevelTracker tracker;
    const double centre = std::uniform_real_distribution<double>(0.3, 1.0)(random);
    const double tremble = std::uniform_real_distribution<double>(0.0, 0.02)(random);
    uint64_t time = kSecond;
    int changes = 0;
    PressureLevel last = PressureLevel::calm;
    for (int i = 0; i < 2000; ++i) {
      const double share = centre + std::uniform_real_distribution<double>(-tremble, tremble)(random);
      time += kSecond / 10 + random() % (kSecond / 2);
      const PressureLevel level =
          tracker.update(sample_at(time, static_cast<uint64_t>(share * static_cast<double>(kLimit))), no_forecast());
      if (i > 200 && level != last) ++changes;
      last = level;
    }
    INFO(centre << " +- " << tremble);
    CHECK(changes <= 1);
  }
}

TEST_CASE("garbage gives some level, and leaves the tracker working") {
  std::mt19937_64 random(2);
  LevelTracker tracker;
  for (int i = 0; i < 20000; ++i) {
    Sample sample = {};
    for (uint64_t* field : {&sample.time_ns, &sample.usage_bytes, &sample.limit_bytes, &sample.host_available_bytes,
                            &sample.stall_ns, &sample.limit_events}) {
      *field = random() >> (random() % 65 % 64);
    }
    sample.missing = static_cast<uint32_t>(random() % 64);
    Forecast forecast = no_forecast();
    forecast.seconds_to_limit = static_cast<uint32_t>(random());
    forecast.confidence_permille = static_cast<uint32_t>(random());
    if (i % 100 == 0) {
      LevelOptions options;
      for (uint32_t& percent : options.percent) percent = static_cast<uint32_t>(random() >> (random() % 32 + 32));
      for (uint32_t& seconds : options.seconds) seconds = static_cast<uint32_t>(random());
      tracker.configure(options);
    }
    CHECK(static_cast<unsigned>(tracker.update(sample, forecast)) < kPressureLevels);
  }
  tracker.configure(kDefaultLevels);
  uint64_t time = UINT64_MAX / 2;
  for (int i = 0; i < 2000; ++i) tracker.update(sample_at(time += kSecond, kLimit / 10), no_forecast());
  CHECK(tracker.level() == PressureLevel::calm);
}

}  // namespace
