#include "preload/launcher/simulation.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>

#include "forecast/forecast.h"

namespace pm {
namespace {

constexpr double kMiB = 1024 * 1024;
constexpr size_t kMostMoments = 20'000;

double seconds_per_byte(uint64_t ns_per_mib) { return static_cast<double>(ns_per_mib) * 1e-9 / kMiB; }

struct UnitCosts {
  double hold, refault, decommit;  // seconds of CPU time for each byte, and byte second
};

UnitCosts unit_costs(const Prices& prices, bool huge) {
  return {seconds_per_byte(prices.hold_ns_per_mib_second),
          seconds_per_byte(huge ? prices.refault_huge_ns_per_mib : prices.refault_ns_per_mib),
          seconds_per_byte(prices.decommit_ns_per_mib)};
}

// How long a point's demand lasts: until the next one; the last as long as the one before it.
double length_of(const Curve& curve, size_t i) {
  const auto& points = curve.points;
  if (i + 1 < points.size()) return points[i + 1].time_s - points[i].time_s;
  return i > 0 ? points[i].time_s - points[i - 1].time_s : 0;
}

double others_of(const CurvePoint& point) {
  return point.usage_bytes > point.used_bytes ? static_cast<double>(point.usage_bytes - point.used_bytes) : 0;
}

double limit_of(const CurvePoint& point) {
  return point.limit_bytes == kCurveWithoutLimit ? -1 : static_cast<double>(point.limit_bytes);
}

// The resident size of one policy, and what it has cost so far.
class Memory {
 public:
  explicit Memory(const UnitCosts& rates) : rates_(rates) {}

  void demand(double used) {
    used_ = used;
    if (used > resident_) touch(used);
  }
  // Makes memory up to the height resident.
  void touch(double height) {
    if (height <= resident_) return;
    const double fresh = std::max(0.0, height - std::max(highest_, resident_));
    cost_.first_touch += fresh * rates_.refault;
    cost_.refault += (height - resident_ - fresh) * rates_.refault;
    resident_ = height;
    highest_ = std::max(highest_, height);
  }
  // Gives back what lies above the height.
  void keep(double height) {
    height = std::max(height, used_);
    if (height >= resident_) return;
    cost_.decommit += (resident_ - height) * rates_.decommit;
    decommitted_ += resident_ - height;
    resident_ = height;
  }
  // `others`: what the limit counts besides; the limit below zero if there is none.
  void pass(double seconds, double others, double limit) {
    if (limit >= 0 && resident_ + others > limit) over_limit_ += seconds;
    cost_.hold += (resident_ - used_) * seconds * rates_.hold;
    resident_time_ += resident_ * seconds;
    used_time_ += used_ * seconds;
  }

  double resident() const { return resident_; }
  Outcome outcome(const std::string& policy, double oracle) const {
    return {policy,
            cost_,
            oracle > 0 ? cost_.total() / oracle : 1,
            used_time_ > 0 ? resident_time_ / used_time_ : 1,
            decommitted_,
            over_limit_};
  }

 private:
  UnitCosts rates_;
  Cost cost_;
  double used_ = 0;
  double resident_ = 0;
  double highest_ = 0;
  double resident_time_ = 0;
  double used_time_ = 0;
  double decommitted_ = 0;
  double over_limit_ = 0;
};

// The largest value of the last `seconds`, of values that each hold until the next.
class WindowMaximum {
 public:
  explicit WindowMaximum(double seconds) : seconds_(seconds) {}

  double add(double time, double value) {
    // `until`: when the value was followed by another; the newest still holds.
    if (!values_.empty()) values_.back().until = time;
    double until = time;
    while (!values_.empty() && values_.back().value <= value) values_.pop_back();
    values_.push_back({value, until});
    while (values_.size() > 1 && values_.front().until < time - seconds_ + 1e-9) values_.pop_front();
    return values_.front().value;
  }

 private:
  struct Value {
    double value, until;
  };
  double seconds_;
  std::deque<Value> values_;
};

using Policy = std::function<double(double time, double used)>;  // the height to keep

Policy at_once() {
  return [](double, double used) { return used; };
}

Policy after_delay(double seconds) {
  return [window = WindowMaximum(seconds)](double time, double used) mutable { return window.add(time, used); };
}

// As tcmalloc skips releases: the largest fluctuation within a second of the last minute, on top of the highest
// second's minimum of the last five, is expected to be wanted again.
Policy after_peaks() {
  struct State {
    WindowMaximum fluctuation{60}, trend{300};
    double second = -1, low = 0, high = 0, keep = 0;
  };
  return [state = State()](double time, double used) mutable {
    if (state.second < 0 || time - state.second >= 1) {
      state.second = time;
      state.low = state.high = used;
    }
    state.low = std::min(state.low, used);
    state.high = std::max(state.high, used);
    return state.fluctuation.add(time, state.high - state.low) + state.trend.add(time, state.low);
  };
}

Outcome run_policy(const Curve& curve, const UnitCosts& rates, const std::string& name, double oracle, Policy policy) {
  Memory memory(rates);
  for (size_t i = 0; i < curve.points.size(); ++i) {
    const CurvePoint& point = curve.points[i];
    const double used = static_cast<double>(point.used_bytes);
    memory.demand(used);
    memory.keep(policy(point.time_s, used));
    memory.pass(length_of(curve, i), others_of(point), limit_of(point));
  }
  return memory.outcome(name, oracle);
}

constexpr uint32_t missing(Source source) { return 1u << static_cast<unsigned>(source); }

// The library's own arithmetic, as its worker would call it at each point.
class Library {
 public:
  Library(const Backing& backing, const SimulationSettings& settings)
      : prices_(backing.prices), huge_(backing.huge), memory_(unit_costs(prices_, huge_)) {
    levels_.configure(settings.levels);
    planner_->configure(settings.plan);
  }

  void step(const CurvePoint& point, double seconds, Simulation& result) {
    const double used = static_cast<double>(point.used_bytes);
    memory_.demand(used);
    const Sample sample = sample_of(point);
    forecaster_->add(sample);
    const PressureLevel level = levels_.update(sample, forecaster_->current());
    Holdings holdings = {};
    holdings.dirty_bytes = holdings.dirty_block_bytes = sample.heap.dirty_bytes;
    holdings.huge = huge_;
    const Plan plan = planner_->next(sample, forecaster_->current(), level, holdings, prices_);
    released_ = {};
    for (unsigned i = 0; i < plan.count; ++i) carry_out(plan.steps[i], used);
    for (unsigned i = 0; i < kReasons; ++i) result.released_bytes[i] += released_[i];
    result.level_seconds[static_cast<unsigned>(level)] += seconds;
    memory_.pass(seconds, others_of(point), limit_of(point));
  }

  Moment moment(const CurvePoint& point) const {
    const Prediction& soon = forecaster_->current().demand[0];
    return {point.time_s,      point.used_bytes, static_cast<uint64_t>(memory_.resident()),
            point.limit_bytes, soon.low,         soon.high,
            levels_.level(),   released_};
  }

  Outcome outcome(double oracle) const { return memory_.outcome("poolmalloc", oracle); }

 private:
  Sample sample_of(const CurvePoint& point) {
    const auto resident = static_cast<uint64_t>(memory_.resident());
    if (point.used_bytes > last_used_) allocated_ += point.used_bytes - last_used_;
    if (point.used_bytes < last_used_) freed_ += last_used_ - point.used_bytes;
    last_used_ = point.used_bytes;
    Sample sample = {};
    sample.time_ns = static_cast<uint64_t>(point.time_s * 1e9) + 1;
    sample.process_cpu_ns = sample.time_ns;  // always at work
    sample.heap.used_bytes = point.used_bytes;
    sample.heap.dirty_bytes = resident > point.used_bytes ? resident - point.used_bytes : 0;
    sample.heap.committed_bytes = point.used_bytes + sample.heap.dirty_bytes;
    sample.heap.allocated_bytes = allocated_;
    sample.heap.freed_bytes = freed_;
    sample.resident_bytes = sample.heap.committed_bytes;
    sample.usage_bytes = std::max(point.usage_bytes, point.used_bytes) + sample.heap.dirty_bytes;
    sample.limit_bytes = point.limit_bytes;
    sample.missing = missing(Source::pressure) | missing(Source::host) | missing(Source::events);
    return sample;
  }

  void carry_out(const Step& step, double used) {
    if (step.action == Action::decommit_blocks || step.action == Action::decommit_runs) {
      memory_.keep(memory_.resident() - static_cast<double>(step.goal_bytes));
      released_[static_cast<unsigned>(step.reason)] += step.goal_bytes;
    } else if (step.action == Action::prefault) {
      memory_.touch(std::max(memory_.resident(), used) + static_cast<double>(step.goal_bytes));
    }
  }

  const Prices prices_;
  const bool huge_;
  Memory memory_;
  std::unique_ptr<Forecaster> forecaster_ = std::make_unique<Forecaster>();
  std::unique_ptr<Planner> planner_ = std::make_unique<Planner>();
  LevelTracker levels_;
  std::array<uint64_t, kReasons> released_ = {};
  uint64_t last_used_ = 0;
  uint64_t allocated_ = 0;
  uint64_t freed_ = 0;
};

}  // namespace

const std::vector<Backing>& backings() {
  static const std::vector<Backing> all = {
      {"huge", "2 MiB pages, warm: 49 ms to touch a GiB again", true, {300'000, 48'000, 3'000, 400'000, 100'000}},
      {"small", "4 KiB pages, warm: 0.3 s a GiB", false, {300'000, 48'000, 60'000, 400'000, 100'000}},
      {"host",
       "2 MiB pages that the host takes back: 2 s a GiB",
       true,
       {2'000'000, 1'950'000, 3'000, 400'000, 100'000}},
  };
  return all;
}

Cost oracle_cost(const Curve& curve, const Prices& prices, bool huge) {
  struct Idle {
    double low, high, since;
  };
  const UnitCosts rates = unit_costs(prices, huge);
  std::vector<Idle> idle;  // from the highest to the lowest; they do not overlap
  Cost cost;
  double highest = 0;
  double used = 0;
  const auto settle = [&](double bytes, double seconds, double again) {
    if (seconds * rates.hold < again + rates.decommit) {
      cost.hold += bytes * seconds * rates.hold;
    } else {
      cost.decommit += bytes * rates.decommit;
      cost.refault += bytes * again;
    }
  };
  for (const CurvePoint& point : curve.points) {
    const double now = static_cast<double>(point.used_bytes);
    if (now < used) idle.push_back({now, used, point.time_s});
    while (!idle.empty() && idle.back().low < now) {
      Idle& lowest = idle.back();
      const double wanted = std::min(lowest.high, now);
      settle(wanted - lowest.low, point.time_s - lowest.since, rates.refault);
      lowest.low = wanted;
      if (lowest.low >= lowest.high) idle.pop_back();
    }
    if (now > highest) {
      cost.first_touch += (now - highest) * rates.refault;
      highest = now;
    }
    used = now;
  }
  const double end = curve.points.back().time_s + length_of(curve, curve.points.size() - 1);
  for (const Idle& rest : idle) settle(rest.high - rest.low, end - rest.since, 0);
  return cost;
}

Curve until_limit(const Curve& curve) {
  Curve cut = curve;
  const auto met = std::find_if(cut.points.begin() + 1, cut.points.end(), [](const CurvePoint& point) {
    return limit_of(point) >= 0 && static_cast<double>(point.used_bytes) + others_of(point) > limit_of(point);
  });
  cut.points.erase(met, cut.points.end());
  return cut;
}

Simulation simulate_curve(const Curve& whole, const Backing& given, const SimulationSettings& settings) {
  const Curve curve = until_limit(whole);
  Backing backing = given;
  backing.prices.hold_ns_per_mib_second = settings.hold_ns_per_mib_second;
  const UnitCosts rates = unit_costs(backing.prices, backing.huge);
  Simulation result;
  result.seconds = curve.points.back().time_s + length_of(curve, curve.points.size() - 1) - curve.points.front().time_s;
  result.oracle.policy = "oracle";
  result.oracle.cost = oracle_cost(curve, backing.prices, backing.huge);
  const double oracle = result.oracle.cost.total();

  Library library(backing, settings);
  const size_t stride = curve.points.size() / kMostMoments + 1;
  std::array<uint64_t, kReasons> before = {};
  for (size_t i = 0; i < curve.points.size(); ++i) {
    library.step(curve.points[i], length_of(curve, i), result);
    if (!settings.keep_moments || i % stride != 0) continue;
    Moment moment = library.moment(curve.points[i]);
    for (unsigned k = 0; k < kReasons; ++k) moment.released_bytes[k] = result.released_bytes[k] - before[k];
    before = result.released_bytes;
    result.moments.push_back(moment);
  }
  result.outcomes.push_back(library.outcome(oracle));
  const double even = rates.hold > 0 ? (rates.refault + rates.decommit) / rates.hold : 1e9;
  result.outcomes.push_back(run_policy(curve, rates, "at once", oracle, at_once()));
  result.outcomes.push_back(run_policy(curve, rates, "break-even", oracle, after_delay(even)));
  result.outcomes.push_back(run_policy(curve, rates, "after 1 s", oracle, after_delay(1)));
  result.outcomes.push_back(run_policy(curve, rates, "after 10 s", oracle, after_delay(10)));
  result.outcomes.push_back(run_policy(curve, rates, "60/300 s peaks", oracle, after_peaks()));
  return result;
}

const char* name_of(PressureLevel level) {
  constexpr const char* kNames[kPressureLevels] = {"calm", "moderate", "high", "critical", "emergency"};
  return kNames[static_cast<unsigned>(level)];
}

const char* name_of(Reason reason) {
  constexpr const char* kNames[kReasons] = {"idle",      "distance",  "pressure", "limit_near",
                                            "emergency", "requested", "dense",    "demand_ahead"};
  return kNames[static_cast<unsigned>(reason)];
}

}  // namespace pm
