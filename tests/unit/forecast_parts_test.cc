// The forecasts' parts, one by one: history, lines, season, selector, interval, rates, the small arithmetic.
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "forecast/history.h"
#include "forecast/interval.h"
#include "forecast/models.h"
#include "forecast/numbers.h"
#include "forecast/rates.h"
#include "forecast/season.h"
#include "forecast/selector.h"
#include "tests/catch.h"

namespace {

using namespace pm;

bool near(double x, double y, double within) { return std::fabs(x - y) <= within; }

TEST_CASE("square roots") {
  CHECK(square_root(0) == 0);
  CHECK(square_root(-1) == 0);
  for (double x = 1e-12; x < 1e40; x *= 3.7) CHECK(near(square_root(x), std::sqrt(x), 1e-6 * std::sqrt(x)));
}

TEST_CASE("bytes and doubles") {
  CHECK(double_as_bytes(-1) == 0);
  CHECK(double_as_bytes(NAN) == 0);
  CHECK(double_as_bytes(1e300) == static_cast<uint64_t>(kMostBytes));
  CHECK(double_as_bytes(bytes_as_double(UINT64_MAX)) == static_cast<uint64_t>(kMostBytes));
  CHECK(double_as_bytes(bytes_as_double(4096)) == 4096);
  CHECK(median_of(3, 1, 2) == 2);
  CHECK(median_of(1, 1, 2) == 1);
}

TEST_CASE("a history agrees with a plain list") {
  auto history = std::make_unique<History>();
  std::mt19937_64 random(1);
  std::vector<float> all;
  for (int i = 0; i < 5000; ++i) {
    all.push_back(static_cast<float>(random() % 1000));
    history->push(static_cast<double>(all.back()));
    if (i % 7 == 0) {
      all.back() = static_cast<float>(random() % 1000);
      history->replace_newest(static_cast<double>(all.back()));
    }
    const uint32_t size = history->size();
    REQUIRE(size == std::min<size_t>(all.size(), History::kSteps));
    const uint32_t age = static_cast<uint32_t>(random() % size);
    const uint32_t length = static_cast<uint32_t>(random() % (size - age)) + 1;
    const auto from = all.end() - age - length;
    REQUIRE(history->at(age) == *(all.end() - 1 - age));
    REQUIRE(history->largest(age, length) == static_cast<double>(*std::max_element(from, from + length)));
    REQUIRE(history->smallest(age, length) == static_cast<double>(*std::min_element(from, from + length)));
    std::vector<float> copied(length);
    history->copy(age, length, copied.data());
    REQUIRE(std::equal(copied.begin(), copied.end(), std::make_reverse_iterator(from + length)));
  }
}

TEST_CASE("block maxima outlive the steps") {
  auto history = std::make_unique<History>();
  for (int i = 0; i < 60; ++i) history->push(5);
  history->push(900);
  for (int i = 0; i < 20000; ++i) history->push(5);
  CHECK(history->largest(0, history->size()) == 5);
  CHECK(history->largest_before(120) == 900);  // nearly three hours ago
  CHECK(history->blocks().at(0) == 5);
  history->clear();
  CHECK(history->size() == 0);
  CHECK(history->largest_before(0) == 0);
}

TEST_CASE("a line through points on a line is that line") {
  double values[50];
  for (int i = 0; i < 50; ++i) values[i] = 1e12 + 3.25 * i;
  const Line line = Line::through(values, 50);
  CHECK(near(line.slope, 3.25, 1e-6));
  CHECK(near(line.ahead(10), 1e12 + 3.25 * 59, 1e-2));
  CHECK(line.fit > 0.999999);
  CHECK(line.spread < 1e-3);
  CHECK(Line::through(values, 0).count == 0);
  CHECK(Line::through(values, 1).at(5) == 1e12);
}

TEST_CASE("a line's errors are those of the textbook") {
  // y = 0, 1, 1, 2: slope 0.6, rest 0.2, R squared 0.9.
  const double values[] = {0, 1, 1, 2};
  const Line line = Line::through(values, 4);
  CHECK(near(line.slope, 0.6, 1e-9));
  CHECK(near(line.at_zero, 0.1, 1e-9));
  CHECK(near(line.fit, 0.9, 1e-9));
  CHECK(near(line.spread, std::sqrt(0.1), 1e-6));
  CHECK(near(line.slope_error, std::sqrt(0.1 / 5), 1e-6));
}

TEST_CASE("holt follows a line, and shrugs at a spike") {
  Holt holt;
  for (int i = 0; i < 2000; ++i) holt.update(100 + i);
  CHECK(holt.forecast(60) > 2110);
  CHECK(holt.forecast(60) < 2160);
  holt.clear();
  for (int i = 0; i < 2000; ++i) holt.update(100 + (i % 2));
  for (int i = 0; i < 5; ++i) holt.update(1e6);
  CHECK(holt.forecast(60) < 1000);
}

TEST_CASE("the level is the last value without its noise") {
  std::mt19937_64 random(11);
  std::normal_distribution<double> noise(0, 1);
  Level level;
  double off = 0, last_off = 0;
  SECTION("noise about a constant is averaged out, and a jump is taken over at once") {
    for (int i = 0; i < 2000; ++i) {
      const double value = 500 + 10 * noise(random);
      level.update(value);
      if (i < 500) continue;
      off += std::fabs(level.value() - 500);
      last_off += std::fabs(value - 500);
    }
    CHECK(off < 0.7 * last_off);
    level.update(900);
    CHECK(level.value() == 900);
  }
  SECTION("a walk is where it is") {
    double value = 500;
    for (int i = 0; i < 2000; ++i) {
      value += 10 * noise(random);
      level.update(value);
      off += std::fabs(level.value() - value);
    }
    CHECK(off / 2000 < 1);
  }
  SECTION("so is a line, and what never moves") {
    for (int i = 0; i < 2000; ++i) level.update(1000 + i);
    CHECK(level.value() == 2999);
    for (int i = 0; i < 2000; ++i) level.update(7);
    CHECK(level.value() == 7);
  }
}

TEST_CASE("the regression learns what comes back and what drifts") {
  std::mt19937_64 random(5);
  std::normal_distribution<double> noise(0, 10);
  Regression regression;
  SECTION("noise comes back to its mean") {
    for (int i = 0; i < 1000; ++i) regression.update(200 + noise(random), 200 + noise(random));
    CHECK(near(regression.forecast(220), 200, 3));
  }
  SECTION("a drift goes on") {
    for (int i = 0; i < 1000; ++i) regression.update(i, i + 60);
    CHECK(near(regression.forecast(1000), 1060, 1));
  }
  SECTION("what is far outside stays there") {
    for (int i = 0; i < 1000; ++i) regression.update(200 + noise(random), 200 + noise(random));
    CHECK(regression.forecast(1000) > 950);
  }
}

uint32_t period_after(const std::vector<double>& values) {
  auto history = std::make_unique<History>();
  auto season = std::make_unique<Season>();
  for (const double value : values) {
    history->push(value);
    season->update(*history);
  }
  return season->period();
}

TEST_CASE("periods are found, of any length and under noise and drift") {
  std::mt19937_64 random(9);
  std::normal_distribution<double> noise(0, 1);
  for (const int period : {8, 30, 55, 180, 400}) {
    std::vector<double> square, sine;
    for (int i = 0; i < 5 * period + 1200; ++i) {
      square.push_back(300 + (i % period < period / 3 ? 50 : 0) + 0.05 * i + 3 * noise(random));
      sine.push_back(300 + 50 * std::sin(2 * 3.14159265 * i / period) + 3 * noise(random));
    }
    CAPTURE(period);
    CHECK(std::abs(static_cast<int>(period_after(square)) - period) <= 1 + period / 40);
    CHECK(std::abs(static_cast<int>(period_after(sine)) - period) <= 1 + period / 20);
  }
}

TEST_CASE("no period is found where there is none") {
  std::mt19937_64 random(4);
  std::normal_distribution<double> noise(0, 1);
  std::vector<double> constant(4000, 100.0), line, white, spike(4000, 100.0);
  for (int i = 0; i < 4000; ++i) {
    line.push_back(100 + 0.1 * i);
    white.push_back(100 + 5 * noise(random));
  }
  for (int i = 2000; i < 2010; ++i) spike[static_cast<size_t>(i)] = 400;
  CHECK(period_after(constant) == 0);
  CHECK(period_after(line) == 0);
  CHECK(period_after(white) == 0);
  CHECK(period_after(spike) == 0);
  unsigned found = 0;
  for (int walk = 0; walk < 10; ++walk) {
    std::vector<double> values = {1000};
    for (int i = 0; i < 3000; ++i) values.push_back(values.back() + noise(random));
    found += period_after(values) != 0;
  }
  CHECK(found <= 2);
}

TEST_CASE("a lost period is forgotten") {
  std::vector<double> values;
  for (int i = 0; i < 2000; ++i) values.push_back(i % 40 < 20 ? 100 : 200);
  for (int i = 0; i < 4000; ++i) values.push_back(100);
  CHECK(period_after(values) == 0);
}

TEST_CASE("the selector leaves the last value for a better model, not for luck") {
  constexpr uint32_t kKnown = 0x3f;
  std::mt19937_64 random(6);
  std::normal_distribution<double> noise(0, 1);
  SECTION("a model that is always right") {
    Selector selector;
    for (int i = 0; i < 200; ++i) {
      float said[kModels] = {};
      said[index(Model::regression)] = 5;
      selector.judge(said, kKnown, 5, 30);
    }
    CHECK(selector.choose(kKnown) == Model::regression);
    CHECK(selector.choose(kKnown & ~bit(Model::regression)) == Model::naive);
  }
  SECTION("models as good as the last value") {
    unsigned left = 0;
    for (int round = 0; round < 50; ++round) {
      Selector selector;
      for (int i = 0; i < 800; ++i) {
        float said[kModels];
        for (float& one : said) one = static_cast<float>(noise(random));
        selector.judge(said, kKnown, 0, 30);
      }
      left += selector.choose(kKnown) != Model::naive;
    }
    CHECK(left <= 15);
  }
  SECTION("the more certain a lead, the further a model is followed") {
    double before = 0;
    for (const double scatter : {2.0, 1.0, 0.5}) {
      Selector selector;
      for (int i = 0; i < 800; ++i) {
        float said[kModels] = {};
        said[index(Model::regression)] = static_cast<float>(1 + scatter * noise(random));
        selector.judge(said, kKnown, 5 + scatter * noise(random), 30);
      }
      const double trust = selector.trust(Model::regression);
      CHECK(trust > before);
      CHECK(trust <= 1);
      before = trust;
    }
    CHECK(before > 0.9);
    CHECK(Selector().trust(Model::regression) == 0);
    CHECK(Selector().trust(Model::seasonal) == 1);
  }
  SECTION("a season that trusts itself is believed at once") {
    Selector selector;
    for (int i = 0; i < 40; ++i) {
      const float said[kModels] = {1, 1, 1, 1, 1, 1};
      selector.judge(said, bit(Model::naive), 0, 120);
    }
    selector.expect_of_season(0.1, false);
    CHECK(selector.choose(bit(Model::naive) | bit(Model::seasonal)) == Model::seasonal);
    selector.expect_of_season(0.9, false);
    CHECK(selector.choose(bit(Model::naive) | bit(Model::seasonal)) == Model::naive);
  }
}

TEST_CASE("nine in ten errors fall into the interval, however they are spread") {
  std::mt19937_64 random(8);
  std::exponential_distribution<double> skewed(1);
  double scale = 1;
  Interval interval;
  unsigned inside = 0, judged = 0;
  for (int i = 0; i < 20000; ++i) {
    if (i % 5000 == 0) scale *= 10;  // the band must follow
    const double error = scale * skewed(random);
    const bool below = error<interval.low(), above = error> interval.high();
    if (i >= 500) {
      ++judged;
      inside += !below && !above;
    }
    interval.judge(error, below, above, 4);
    CHECK(interval.low() <= interval.high());
  }
  const double share = inside / static_cast<double>(judged);
  CHECK(share > 0.87);
  CHECK(share < 0.95);
}

TEST_CASE("the interval shrinks and grows with the errors of today") {
  std::mt19937_64 random(12);
  std::normal_distribution<double> noise(0, 1);
  Interval interval;
  const auto judge = [&](double size, int times) {
    for (int i = 0; i < times; ++i) interval.judge(size * noise(random), false, false, 12);
  };
  judge(100, 1500);
  const double wide = interval.high() - interval.low();
  judge(1, 400);  // less than a quarter of the errors that are kept
  CHECK(interval.high() - interval.low() < wide / 5);
  judge(100, 400);
  CHECK(interval.high() - interval.low() > wide / 2);
  interval.judge(1e9, false, false, 1);
  judge(100, 1500);
  CHECK(interval.high() - interval.low() < 4 * wide);
}

TEST_CASE("rates pass over totals that fall and times too short") {
  Rates rates;
  rates.update(1000, 0, 1);
  for (int i = 1; i <= 200; ++i) rates.update(1000 + static_cast<uint64_t>(i) * 100, 0, 1);
  CHECK(near(static_cast<double>(rates.allocation()), 100, 1));
  rates.update(50, 0, 1);  // a restart
  CHECK(near(static_cast<double>(rates.allocation()), 100, 1));
  rates.update(50, 0, 0);
  rates.update(UINT64_MAX, UINT64_MAX, 1e-9);
  CHECK(near(static_cast<double>(rates.allocation()), 100, 1));
  rates.clear();
  CHECK(rates.allocation() == 0);
}

}  // namespace
