#include "preload/launcher/health.h"

#include <algorithm>
#include <cmath>

#include "preload/launcher/advise.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Deductions = std::vector<Deduction>;

constexpr unsigned kProblem = 15;
constexpr unsigned kWarning = 5;
constexpr unsigned kAdvice = 2;
constexpr unsigned kMostPressure = 25;      // critical or worse all the time
constexpr unsigned kMostHighPressure = 10;  // high all the time
constexpr unsigned kMetLimit = 10;
constexpr unsigned kMostIdleMemory = 20;
constexpr unsigned kRefaults = 5;
constexpr unsigned kMisses = 5;
constexpr unsigned kWorker = 5;
constexpr unsigned kForecast = 3;

// Less than this is no burden on a machine, however it is used.
constexpr double kLeastBytes = 64 << 20;
// A quarter of a program's memory in reserve is the price of not asking the kernel for all of it.
constexpr double kFairReserve = 0.25;
constexpr uint64_t kLeastForecasts = 20;

uint64_t rise(const Observed& o, uint64_t Snapshot::*metric) {
  return o.last.*metric > o.first.*metric ? o.last.*metric - o.first.*metric : 0;
}

void take(Deductions& out, unsigned points, const std::string& why) {
  if (points > 0) out.push_back({points, why});
}

void judge_findings(const Observed& o, Deductions& out) {
  for (const Finding& finding : o.findings) {
    if (finding.severity == Severity::problem) take(out, kProblem, finding.about + ": " + finding.what);
    if (finding.severity == Severity::warning) take(out, kWarning, finding.about + ": " + finding.what);
  }
  if (o.advices > 0) {
    take(out, static_cast<unsigned>(o.advices) * kAdvice,
         grouped_text(o.advices) + (o.advices == 1 ? " option" : " options") +
             " would serve better than those in force");
  }
}

// Any time at all is at least a point.
unsigned points_for_time(double seconds, double all, unsigned most) {
  if (seconds <= 0 || all <= 0) return 0;
  return std::max(1u, static_cast<unsigned>(std::lround(std::min(1.0, seconds / all) * most)));
}

void judge_pressure(const Observed& o, Deductions& out) {
  double all = 0;
  for (const double seconds : o.level_seconds) all += seconds;
  const auto text = [&](double seconds, const char* level) {
    return "Pressure was " + std::string(level) + " for " + duration_text(static_cast<uint64_t>(std::ceil(seconds))) +
           " of " + duration_text(static_cast<uint64_t>(std::llround(all)));
  };
  const double critical = o.level_seconds[3] + o.level_seconds[4];
  take(out, points_for_time(critical, all, kMostPressure), text(critical, "critical"));
  take(out, points_for_time(o.level_seconds[2], all, kMostHighPressure), text(o.level_seconds[2], "high"));
  const uint64_t emergencies = rise(o, &Snapshot::emergencies);
  if (emergencies > 0) take(out, kMetLimit, grouped_text(emergencies) + " allocations had to make room first");
}

void judge_idle_memory(const Observed& o, Deductions& out) {
  if (o.mean_resident_bytes < kLeastBytes) return;
  const double share = o.mean_free_resident_bytes / o.mean_resident_bytes;
  if (share <= kFairReserve) return;
  const double beyond = std::min(1.0, (share - kFairReserve) / (1 - kFairReserve));
  take(out, std::max(1u, static_cast<unsigned>(std::lround(beyond * kMostIdleMemory))),
       bytes_text(static_cast<uint64_t>(o.mean_free_resident_bytes)) + " of " +
           bytes_text(static_cast<uint64_t>(o.mean_resident_bytes)) + " resident lay free on average");
}

void judge_refaults(const Observed& o, Deductions& out) {
  const uint64_t released = rise(o, &Snapshot::decommitted_bytes);
  const uint64_t refaulted = rise(o, &Snapshot::refaulted_bytes);
  if (static_cast<double>(released) < kLeastBytes || refaulted < released / 2) return;
  take(out, kRefaults,
       bytes_text(refaulted) + " came into use again while " + bytes_text(released) + " were given back");
}

void judge_magazines(const Observed& o, Deductions& out) {
  const uint64_t misses = rise(o, &Snapshot::magazine_misses);
  const uint64_t calls = misses + rise(o, &Snapshot::magazine_hits);
  if (calls < kLeastCalls || misses < calls / 20) return;
  take(out, kMisses,
       percent_text(misses, calls) + " of " + grouped_text(calls) + " calls found their magazine empty or full");
}

void judge_worker(const Observed& o, Deductions& out) {
  const double share = o.seconds > 0 ? static_cast<double>(rise(o, &Snapshot::worker_cpu_ns)) / 1e9 / o.seconds : 0;
  if (share < 0.01) return;
  take(out, kWorker, "The worker took " + percent_text(static_cast<uint64_t>(share * 1000), 1000) + " of a CPU");
}

void judge_forecast(const Observed& o, Deductions& out) {
  if (o.last.forecasts_judged < kLeastForecasts || o.last.forecast_coverage >= 700) return;
  take(out, kForecast,
       "Only " + percent_text(o.last.forecast_coverage, 1000) + " of " + grouped_text(o.last.forecasts_judged) +
           " predictions held within their 90 % band");
}

}  // namespace

Health judge(const Observed& observed) {
  Health health = {100, {}};
  for (const auto judge_part : {judge_findings, judge_pressure, judge_idle_memory, judge_refaults, judge_magazines,
                                judge_worker, judge_forecast}) {
    judge_part(observed, health.deductions);
  }
  std::stable_sort(health.deductions.begin(), health.deductions.end(),
                   [](const Deduction& a, const Deduction& b) { return a.points > b.points; });
  for (const Deduction& deduction : health.deductions) health.points -= std::min(health.points, deduction.points);
  return health;
}

}  // namespace pm
