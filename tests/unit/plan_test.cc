#include "reclaim/plan.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>

#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr Prices kHost = {2'000'000, 2'000'000, 3'000, 400'000, 100'000};

constexpr uint32_t missing(Source source) { return 1u << static_cast<unsigned>(source); }

Forecast no_forecast() {
  Forecast forecast = {};
  forecast.seconds_to_limit = forecast.earliest_seconds = forecast.latest_seconds = kNever;
  return forecast;
}

uint64_t goal_of(const Plan& plan, Action action) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < plan.count; ++i) {
    if (plan.steps[i].action == action) sum += plan.steps[i].goal_bytes;
  }
  return sum;
}

const Step* step_of(const Plan& plan, Action action) {
  for (unsigned i = 0; i < plan.count; ++i) {
    if (plan.steps[i].action == action) return &plan.steps[i];
  }
  return nullptr;
}

// A process whose memory obeys the plans, sampled ten times a second.
struct Process {
  std::unique_ptr<Planner> planner = std::make_unique<Planner>();
  Prices prices = kUnmeasuredPrices;
  Forecast forecast = no_forecast();
  PressureLevel level = PressureLevel::calm;
  Holdings holdings = {};
  uint64_t time = kSecond;
  uint64_t demand = 0;
  uint64_t resident = 0;
  uint64_t others = 0;
  uint64_t limit = kNoLimit;
  uint64_t turnover = 0;
  bool runs = false;        // dirty memory lies between objects
  uint64_t idle_share = 0;  // percent of the time in which it does nothing
  uint64_t refaulted = 0;

  Plan step(uint64_t now_used) {
    demand = now_used;
    if (demand > resident) {
      refaulted += demand - resident;
      resident = demand;
    }
    const uint64_t dirty = resident - demand;
    Sample sample = {};
    sample.time_ns = time;
    sample.process_cpu_ns = time / 100 * (100 - idle_share);
    sample.heap.used_bytes = demand;
    sample.heap.dirty_bytes = dirty;
    sample.heap.allocated_bytes = turnover;
    sample.resident_bytes = resident;
    sample.usage_bytes = resident + others;
    sample.limit_bytes = limit;
    sample.missing = missing(Source::host);
    holdings.dirty_bytes = dirty;
    holdings.dirty_block_bytes = runs ? 0 : dirty;
    holdings.dirty_run_bytes = runs ? dirty : 0;
    const Plan plan = planner->next(sample, forecast, level, holdings, prices);
    resident -= goal_of(plan, Action::decommit_blocks) + goal_of(plan, Action::decommit_runs);
    time += kSecond / 10;
    return plan;
  }
  void stay(uint64_t used, double seconds) {
    for (int i = 0; i < static_cast<int>(seconds * 10); ++i) step(used);
  }
  uint64_t dirty() const { return resident - demand; }
};

TEST_CASE("an idle process is back near its live size within half a minute, at any price of a refault") {
  for (const Prices& prices : {kUnmeasuredPrices, kHost}) {
    for (const bool huge : {false, true}) {
      for (const bool runs : {false, true}) {
        Process process;
        process.prices = prices;
        process.holdings.huge = huge;
        process.runs = runs;
        process.stay(100 * kMiB, 5);
        process.stay(1124 * kMiB, 5);
        process.stay(100 * kMiB, 30);
        INFO(prices.refault_ns_per_mib << " huge " << huge << " runs " << runs);
        CHECK(process.resident <= 110 * kMiB);
      }
    }
  }
}

TEST_CASE("what returns every two seconds is kept, once that is known") {
  Process process;
  process.stay(100 * kMiB, 5);
  for (int i = 0; i < 5; ++i) {
    process.stay(400 * kMiB, 2);
    process.stay(100 * kMiB, 2);
  }
  process.refaulted = 0;
  for (int i = 0; i < 20; ++i) {
    process.stay(400 * kMiB, 2);
    process.stay(100 * kMiB, 2);
  }
  CHECK(process.refaulted <= 300 * kMiB);
}

TEST_CASE("what returns every minute is dropped at once, once that is known") {
  Process process;
  for (int i = 0; i < 6; ++i) {
    process.stay(400 * kMiB, 10);
    process.stay(100 * kMiB, 50);
  }
  process.stay(400 * kMiB, 10);
  process.stay(100 * kMiB, 0.3);
  CHECK(process.resident <= 110 * kMiB);
}

TEST_CASE("a dearer refault keeps memory longer, a dearer second shorter") {
  const auto kept_for = [](const Prices& prices) {
    Process process;
    process.prices = prices;
    process.stay(400 * kMiB, 5);
    int steps = 0;
    for (process.step(100 * kMiB); process.dirty() > 10 * kMiB && steps < 10000; ++steps) process.step(100 * kMiB);
    return steps;
  };
  Prices dear = kUnmeasuredPrices;
  dear.hold_ns_per_mib_second *= 20;
  CHECK(kept_for(kHost) > kept_for(kUnmeasuredPrices));
  CHECK(kept_for(kUnmeasuredPrices) >= kept_for(dear));
  Prices free = kUnmeasuredPrices;
  free.hold_ns_per_mib_second = 0;
  CHECK(kept_for(free) == 10000);
}

TEST_CASE("heights are relative: small and large processes are treated alike") {
  for (const uint64_t unit : {uint64_t{30} << 10, kMiB, 100 * kMiB}) {
    Process process;
    for (int i = 0; i < 6; ++i) {
      process.stay(400 * unit, 10);
      process.stay(100 * unit, 50);
    }
    INFO(unit);
    CHECK(process.resident <= 105 * unit);
    for (int i = 0; i < 12; ++i) {
      process.stay(400 * unit, 1);
      process.stay(300 * unit, 1);
    }
    CHECK(process.resident >= 390 * unit);
  }
}

TEST_CASE("on huge pages runs are kept longer than blocks") {
  const auto kept_for = [](bool runs) {
    Process process;
    process.holdings.huge = true;
    process.runs = runs;
    process.stay(400 * kMiB, 5);
    int steps = 0;
    for (process.step(100 * kMiB); process.dirty() > 10 * kMiB && steps < 10000; ++steps) process.step(100 * kMiB);
    return steps;
  };
  CHECK(kept_for(true) > kept_for(false));
}

TEST_CASE("critical alone gives back down to nine tenths of the limit, emergency everything") {
  Process process;
  process.prices.hold_ns_per_mib_second = 0;  // nothing goes for its price
  process.limit = 1000 * kMiB;
  process.stay(940 * kMiB, 1);
  process.level = PressureLevel::critical;
  const Plan plan = process.step(500 * kMiB);
  CHECK(goal_of(plan, Action::decommit_blocks) == 40 * kMiB);
  CHECK(step_of(plan, Action::decommit_blocks)->reason == Reason::limit_near);
  process.level = PressureLevel::emergency;
  const Plan all = process.step(500 * kMiB);
  CHECK(process.dirty() == 0);
  CHECK(step_of(all, Action::decommit_blocks)->reason == Reason::emergency);
}

TEST_CASE("where others share the limit, high is enough to give everything back") {
  for (const uint64_t others : {uint64_t{0}, 100 * kMiB}) {
    Process process;
    process.prices.hold_ns_per_mib_second = 0;  // nothing goes for its price
    process.limit = 620 * kMiB;
    process.others = others;
    process.stay(400 * kMiB, 8);
    process.level = PressureLevel::high;
    process.step(100 * kMiB);
    CHECK(process.dirty() == (others > 0 ? 0 : 300 * kMiB));
  }
}

TEST_CASE("memory is lent to and fro where others have a part of a limit that is used") {
  const auto lends = [](uint64_t ours, uint64_t others, uint64_t limit) {
    const auto planner = std::make_unique<Planner>();
    Sample sample = {};
    sample.time_ns = kSecond;
    sample.heap.used_bytes = sample.resident_bytes = ours;
    sample.usage_bytes = ours + others;
    sample.limit_bytes = limit;
    sample.missing = missing(Source::host);
    planner->next(sample, no_forecast(), PressureLevel::calm, {}, kUnmeasuredPrices);
    return planner->lends(sample);
  };
  CHECK(lends(200 * kMiB, 120 * kMiB, 900 * kMiB));
  CHECK_FALSE(lends(170 * kMiB, 120 * kMiB, 900 * kMiB));
  CHECK_FALSE(lends(600 * kMiB, 60 * kMiB, 900 * kMiB));
  CHECK_FALSE(lends(600 * kMiB, 600 * kMiB, kNoLimit));
}

TEST_CASE("room is made for others that were here a minute ago, while it is calm") {
  Process process;
  process.prices = kHost;
  process.limit = 1000 * kMiB;
  process.others = 500 * kMiB;
  process.stay(200 * kMiB, 1);
  process.others = 50 * kMiB;
  process.stay(700 * kMiB, 1);
  const Plan plan = process.step(200 * kMiB);
  // 90 % of the limit less what the others had.
  CHECK(process.resident <= 400 * kMiB);
  CHECK(step_of(plan, Action::decommit_blocks)->reason == Reason::pressure);
}

TEST_CASE("the application is told of each rise, and again every second while it is critical") {
  Process process;
  process.limit = 1000 * kMiB;
  CHECK(step_of(process.step(100 * kMiB), Action::notify) == nullptr);
  process.level = PressureLevel::moderate;
  CHECK(step_of(process.step(100 * kMiB), Action::notify) != nullptr);
  CHECK(step_of(process.step(100 * kMiB), Action::notify) == nullptr);
  process.level = PressureLevel::critical;
  const Plan plan = process.step(950 * kMiB);
  REQUIRE(step_of(plan, Action::notify) != nullptr);
  CHECK(plan.steps[0].action == Action::notify);
  CHECK(step_of(plan, Action::notify)->goal_bytes == 150 * kMiB + (1000 * kMiB - 1000 * kMiB / 100 * 100) / 100 * 80);
  int told = 0;
  for (int i = 0; i < 50; ++i) told += step_of(process.step(950 * kMiB), Action::notify) != nullptr;
  CHECK(told == 5);
  process.level = PressureLevel::high;
  CHECK(step_of(process.step(850 * kMiB), Action::notify) == nullptr);
}

TEST_CASE("caches are drained under pressure, and once when nothing is allocated any more") {
  Process process;
  process.holdings.magazine_bytes = 3 * kMiB;
  process.holdings.depot_bytes = kMiB;
  process.holdings.empty_slab_bytes = 2 * kMiB;
  int drains = 0;
  for (int i = 0; i < 300; ++i) {
    ++process.turnover;
    drains += step_of(process.step(50 * kMiB), Action::drain_caches) != nullptr;
  }
  CHECK(drains == 0);
  for (int i = 0; i < 600; ++i) drains += goal_of(process.step(50 * kMiB), Action::drain_caches) == 4 * kMiB;
  CHECK(drains == 1);
  ++process.turnover;
  for (int i = 0; i < 600; ++i) drains += step_of(process.step(50 * kMiB), Action::drain_caches) != nullptr;
  CHECK(drains == 2);
  process.level = PressureLevel::critical;
  ++process.turnover;
  const Plan plan = process.step(50 * kMiB);
  CHECK(goal_of(plan, Action::drain_caches) == 4 * kMiB);
  CHECK(goal_of(plan, Action::release_slabs) == 2 * kMiB);
}

TEST_CASE("a process at rest is looked at when its caches are due, and once they are drained") {
  Process process;
  process.holdings.magazine_bytes = 3 * kMiB;
  ++process.turnover;
  for (int i = 0; i < 20; ++i) process.step(50 * kMiB);
  ++process.turnover;
  Plan plan = process.step(50 * kMiB);
  // Whoever looks only when a plan says so.
  unsigned looks = 0;
  for (; step_of(plan, Action::drain_caches) == nullptr && looks < 5; ++looks) {
    REQUIRE(plan.next_in_ns <= 10 * kSecond);
    process.time += plan.next_in_ns - kSecond / 10;  // which step() adds
    plan = process.step(50 * kMiB);
  }
  CHECK(looks == 1);
  CHECK(plan.next_in_ns <= kSecond);
  process.holdings.magazine_bytes = 0;
  CHECK(process.step(50 * kMiB).next_in_ns > 10 * kSecond);
}

TEST_CASE("collapse stays within its budget, and stops with pressure or when switched off") {
  const auto collapsed = [](const PlanOptions& options, PressureLevel level, uint64_t idle_share = 0) {
    Process process;
    process.idle_share = idle_share;
    process.planner->configure(options);
    process.holdings.small_page_bytes = 10000 * kMiB;
    process.level = level;
    uint64_t sum = 0;
    for (int i = 0; i < 1000; ++i) sum += goal_of(process.step(50 * kMiB), Action::collapse);
    return sum;
  };
  const uint64_t sum = collapsed({5, true, true}, PressureLevel::calm);
  CHECK(sum > 0);
  // A hundred seconds at five thousandths of a core, and what may be saved up.
  CHECK(sum / kMiB * kUnmeasuredPrices.collapse_ns_per_mib <= 102 * kSecond / 1000 * 5);
  // For a process that hardly works it is a share of that little.
  const uint64_t lazy = collapsed({5, true, true}, PressureLevel::calm, 90);
  CHECK(lazy > 0);
  CHECK(lazy < sum / 8);
  CHECK(collapsed({5, true, true}, PressureLevel::calm, 100) == 0);
  CHECK(collapsed({5, true, true}, PressureLevel::moderate) == 0);
  CHECK(collapsed({0, true, true}, PressureLevel::calm) == 0);
  CHECK(collapsed({5, true, false}, PressureLevel::calm) == 0);
}

TEST_CASE("prefault follows a sure rise, with room only") {
  const auto prefaulted = [](uint64_t limit, bool rising, uint32_t confidence) {
    Process process;
    process.planner->configure({1000, true, false});
    process.limit = limit;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 200; ++i) {
      const uint64_t used = 100 * kMiB + (rising ? i * kMiB : i % 10 * 10 * kMiB);
      process.forecast.trend = Trend::rising;
      process.forecast.confidence_permille = confidence;
      process.forecast.demand[0] = {used + 300 * kMiB, used + 250 * kMiB, used + 350 * kMiB, Model::holt};
      const Plan plan = process.step(used);
      sum += goal_of(plan, Action::prefault);
      process.resident += goal_of(plan, Action::prefault);
      // Never more than two seconds' worth ahead.
      CHECK(process.dirty() <= 20 * kMiB + (rising ? 0 : 100 * kMiB));
    }
    return sum;
  };
  CHECK(prefaulted(kNoLimit, true, 900) > 0);
  CHECK(prefaulted(kNoLimit, true, 500) == 0);
  CHECK(prefaulted(kNoLimit, false, 900) == 0);
  CHECK(prefaulted(300 * kMiB, true, 900) < prefaulted(kNoLimit, true, 900) / 2);
}

// What the header promises of every plan, whatever the figures.
void check_plan(const Plan& plan, const Holdings& holdings) {
  REQUIRE(plan.count <= kMaxSteps);
  for (unsigned i = 0; i < plan.count; ++i) {
    const Step& step = plan.steps[i];
    REQUIRE(static_cast<unsigned>(step.action) < kActions);
    REQUIRE(static_cast<unsigned>(step.reason) < kReasons);
    if (i > 0) REQUIRE(plan.steps[i - 1].action < step.action);
    if (step.action != Action::notify) REQUIRE(step.goal_bytes > 0);
  }
  const auto at_most = [&](Action action, uint64_t held) { REQUIRE(goal_of(plan, action) <= held); };
  at_most(Action::decommit_blocks, holdings.dirty_block_bytes);
  at_most(Action::decommit_runs, holdings.dirty_run_bytes);
  at_most(Action::release_slabs, holdings.empty_slab_bytes);
  at_most(Action::collapse, holdings.small_page_bytes);
  REQUIRE(goal_of(plan, Action::decommit_blocks) + goal_of(plan, Action::decommit_runs) <= holdings.dirty_bytes);
  const uint64_t cached = holdings.magazine_bytes + holdings.depot_bytes;
  REQUIRE((goal_of(plan, Action::drain_caches) <= cached || cached < holdings.magazine_bytes));
}

TEST_CASE("plans never ask for more than is held, come in order and are deterministic, on garbage too") {
  std::mt19937_64 random(3);
  const auto any = [&random] { return random() >> (random() % 64); };
  auto a = std::make_unique<Planner>();
  auto b = std::make_unique<Planner>();
  for (int i = 0; i < 30000; ++i) {
    const bool tame = i / 1000 % 2 == 0;
    Sample sample = {};
    for (uint64_t* field : {&sample.time_ns, &sample.heap.used_bytes, &sample.heap.dirty_bytes,
                            &sample.heap.allocated_bytes, &sample.heap.freed_bytes, &sample.resident_bytes,
                            &sample.usage_bytes, &sample.limit_bytes, &sample.host_available_bytes}) {
      *field = tame ? any() % (2000 * kMiB) : any();
    }
    if (tame) sample.time_ns = static_cast<uint64_t>(i) * kSecond / 4;
    sample.missing = static_cast<uint32_t>(random() % 64);
    Holdings holdings = {};
    for (uint64_t* field :
         {&holdings.magazine_bytes, &holdings.depot_bytes, &holdings.empty_slab_bytes, &holdings.dirty_bytes,
          &holdings.dirty_block_bytes, &holdings.dirty_run_bytes, &holdings.small_page_bytes}) {
      *field = tame ? any() % (500 * kMiB) : any();
    }
    holdings.huge = random() % 2 == 0;
    Prices prices = kUnmeasuredPrices;
    if (!tame) {
      prices = {any(), any(), any(), any(), any()};
    }
    Forecast forecast = no_forecast();
    forecast.trend = static_cast<Trend>(random() % 4);
    forecast.confidence_permille = static_cast<uint32_t>(any());
    for (Prediction& prediction : forecast.demand) prediction = {any(), any(), any(), Model::naive};
    if (i % 500 == 0) {
      const PlanOptions options = {static_cast<uint32_t>(any()), random() % 2 == 0, random() % 2 == 0};
      a->configure(options);
      b->configure(options);
    }
    const auto level = static_cast<PressureLevel>(random() % kPressureLevels);
    const Plan plan = a->next(sample, forecast, level, holdings, prices);
    check_plan(plan, holdings);
    const Plan same = b->next(sample, forecast, level, holdings, prices);
    REQUIRE(plan.count == same.count);
    REQUIRE(plan.next_in_ns == same.next_in_ns);
    REQUIRE(plan.wake_dirty_bytes == same.wake_dirty_bytes);
    for (unsigned k = 0; k < plan.count; ++k) {
      REQUIRE(plan.steps[k].action == same.steps[k].action);
      REQUIRE(plan.steps[k].reason == same.steps[k].reason);
      REQUIRE(plan.steps[k].goal_bytes == same.steps[k].goal_bytes);
    }
  }
}

TEST_CASE("a planner is a few tens of KiB of zeros") {
  CHECK(sizeof(Planner) <= 40 * 1024);
  auto planner = std::make_unique<Planner>();
  const auto* bytes = reinterpret_cast<const unsigned char*>(planner.get());
  CHECK(std::all_of(bytes, bytes + sizeof(Planner), [](unsigned char byte) { return byte == 0; }));
}

TEST_CASE("the plan says when idle memory is due") {
  Process process;
  process.prices = kHost;
  CHECK(process.step(400 * kMiB).next_in_ns == UINT64_MAX);
  process.stay(400 * kMiB, 5);
  const Plan plan = process.step(100 * kMiB);
  REQUIRE(process.dirty() == 300 * kMiB);
  REQUIRE(plan.next_in_ns < 60 * kSecond);
  CHECK(plan.wake_dirty_bytes > process.dirty());
  // Sampled only when the plan says so, memory goes as it does at ten samples a second.
  for (int samples = 0; process.dirty() > kMiB && samples < 20; ++samples) {
    const uint64_t wait = process.step(100 * kMiB).next_in_ns;
    REQUIRE(wait > 0);
    if (process.dirty() > kMiB) process.time += wait;
  }
  CHECK(process.dirty() <= kMiB);
  CHECK(process.time < 40 * kSecond);
}

}  // namespace
