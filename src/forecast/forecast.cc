#include "forecast/forecast.h"

namespace pm {

namespace {

constexpr uint32_t kLongestGap = 120 * kStepsPerSecond;

bool has(const Sample& sample, Source source) { return (sample.missing >> static_cast<unsigned>(source) & 1) == 0; }

uint32_t permille(double share) { return static_cast<uint32_t>(clamp(share, 0, 1000) * 1000); }

uint32_t whole_seconds(double seconds) { return seconds < 1e9 ? static_cast<uint32_t>(seconds) : kNever; }

// Feeds a series up to the present: what lies between two samples is taken to have changed evenly.
void feed(Series& series, double value, uint32_t steps, bool broken, bool odd) {
  if (broken) series.forget_history();
  if (steps == 0 && series.history().size() != 0) {
    series.replace_newest(value);
    return;
  }
  if (series.history().size() != 0) {
    const double before = series.history().at(0);
    for (uint32_t i = 1; i < steps; ++i) series.fill(before + (value - before) * i / steps);
  }
  series.step(value, odd);
}

// Bytes per second: of the peaks from period to period, else the slope of the last two minutes.
double growth_of(const Series& series) {
  if (series.season().period() != 0) return series.season().drift() * kStepsPerSecond;
  return series.line().count < 10 * kStepsPerSecond ? 0 : series.line().slope * kStepsPerSecond;
}

}  // namespace

void Forecaster::reset() {
  const ForecastOptions options = options_;
  renew(*this);
  options_ = options;
}

Forecaster::Steps Forecaster::advance(uint64_t time_ns) {
  if (!started_) {
    started_ = true;
    last_time_ns_ = time_ns;
    return {1, false};
  }
  // A clock that went back: time stands still for this sample.
  const uint64_t passed = time_ns > last_time_ns_ ? time_ns - last_time_ns_ : 0;
  last_time_ns_ = time_ns;
  if (passed / kStepNs >= kLongestGap) {
    into_step_ns_ = 0;
    return {1, true};
  }
  const uint64_t into = into_step_ns_ + passed;
  into_step_ns_ = into % kStepNs;
  return {static_cast<uint32_t>(into / kStepNs), false};
}

void Forecaster::add(const Sample& sample) {
  const double seconds =
      started_ && sample.time_ns > last_time_ns_ ? static_cast<double>(sample.time_ns - last_time_ns_) * 1e-9 : 0;
  const Steps steps = advance(sample.time_ns);
  rates_.update(sample.heap.allocated_bytes, sample.heap.freed_bytes, seconds);
  feed(demand_, bytes_as_double(sample.heap.used_bytes), steps.count, steps.broken, false);

  const double limit = bytes_as_double(sample.limit_bytes);
  const bool usage_known = has(sample, Source::usage);
  const bool limit_known = has(sample, Source::limit) && sample.limit_bytes != kNoLimit;
  if (usage_known) {
    feed(usage_, bytes_as_double(sample.usage_bytes), steps.count, steps.broken, true);
  } else {
    usage_.forget_history();
  }
  if (!usage_known || !limit_known) {
    watch_.suspend();
  } else if (steps.count > 0) {
    watch_.update(usage_, limit);
  } else {
    watch_.refresh(bytes_as_double(sample.usage_bytes), limit);
  }
  summarize(sample);
}

Trend Forecaster::trend_of(double growth, double level) const {
  if (watch_.outlook().seconds <= options_.critical_seconds) return Trend::critical;
  const double stable = level * options_.stable_permille / 1000 / 60;
  if (growth > stable) return Trend::rising;
  return growth < -stable ? Trend::falling : Trend::stable;
}

void Forecaster::summarize(const Sample& sample) {
  Forecast& f = forecast_;
  ForecastScore& score = f.score;
  score.judged = demand_.judged() + usage_.judged();
  const double level = larger(demand_.mean_level(), 1);
  for (unsigned i = 0; i < kHorizons; ++i) {
    f.demand[i] = demand_.prediction(i);
    f.usage[i] = usage_.prediction(i);
    score.error_permille[i] = permille(demand_.error(i) / level);
    score.naive_error_permille[i] = permille(demand_.naive_error(i) / level);
    score.coverage_permille[i] = permille(demand_.coverage(i));
  }
  score.alarms = watch_.alarms();
  score.true_alarms = watch_.true_alarms();
  score.false_alarms = watch_.false_alarms();

  // Trust grows over two minutes of judged forecasts, and falls with their error.
  const double seen = smaller(1, demand_.judgements(1) / 120.0);
  f.confidence_permille = permille(seen * larger(0, 1 - 2 * demand_.error(1) / level));

  const bool usage_known = has(sample, Source::usage);
  const Series& growing = usage_known ? usage_ : demand_;
  const double growth = growth_of(growing);
  f.growth_bytes_per_second = static_cast<int64_t>(clamp(growth, -kMostBytes, kMostBytes));
  f.trend = trend_of(growth, larger(growing.history().at(0), 1));
  f.alarm = watch_.alarm();
  f.seconds_to_limit = whole_seconds(watch_.outlook().seconds);
  f.earliest_seconds = whole_seconds(watch_.outlook().earliest);
  f.latest_seconds = whole_seconds(watch_.outlook().latest);
  f.allocation_bytes_per_second = rates_.allocation();
  f.free_bytes_per_second = rates_.release();
  f.allocation_forecast = rates_.allocation_forecast();
  f.free_forecast = rates_.release_forecast();
  f.season_seconds = demand_.season().period() / kStepsPerSecond;
}

}  // namespace pm
