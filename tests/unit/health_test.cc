// The score of a report: what takes points off, and how many.
#include "preload/launcher/health.h"

#include "preload/launcher/advise.h"
#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kMiB = 1 << 20;

// A program that is well for a minute.
Observed well() {
  Observed o;
  o.findings = {{Severity::fine, "limit", "none but the machine's", ""}, {Severity::note, "sandbox", "a filter", ""}};
  o.seconds = 60;
  o.level_seconds[0] = 60;
  o.mean_resident_bytes = 1000.0 * kMiB;
  o.mean_free_resident_bytes = 200.0 * kMiB;
  o.last.magazine_hits = 10 * kLeastCalls;
  o.last.worker_cpu_ns = 60'000'000;  // a thousandth of the time
  return o;
}

unsigned lost(const Observed& observed) { return 100 - judge(observed).points; }

}  // namespace

TEST_CASE("a program that is well has all points, and nothing is said against it") {
  const Health health = judge(well());
  CHECK(health.points == 100);
  CHECK(health.deductions.empty());
}

TEST_CASE("findings cost points by their severity, and stand in the reasons") {
  Observed o = well();
  o.findings.push_back({Severity::warning, "leak", "objects of 48 bytes grew", "prof start"});
  CHECK(lost(o) == 5);
  o.findings.push_back({Severity::problem, "misuse", "3 misuses", "mend them"});
  const Health health = judge(o);
  CHECK(health.points == 80);
  REQUIRE(health.deductions.size() == 2);
  CHECK(health.deductions[0].points == 15);  // the heaviest first
  CHECK(health.deductions[0].why == "misuse: 3 misuses");
  CHECK(health.deductions[1].why == "leak: objects of 48 bytes grew");
}

TEST_CASE("advice costs two points each") {
  Observed o = well();
  o.advices = 1;
  CHECK(lost(o) == 2);
  CHECK(judge(o).deductions[0].why.substr(0, 14) == "1 option would");
  o.advices = 3;
  CHECK(lost(o) == 6);
}

TEST_CASE("pressure costs by the share of time, and at least a point") {
  Observed o = well();
  o.level_seconds = {30, 0, 0, 20, 10};
  CHECK(lost(o) == 13);  // half of the time, of 25
  o.level_seconds = {0, 0, 0, 0, 60};
  CHECK(lost(o) == 25);
  o.level_seconds = {59.99, 0, 0.01, 0, 0};
  CHECK(lost(o) == 1);
  o.level_seconds = {0, 60, 0, 0, 0};  // moderate is what the levels are for
  CHECK(lost(o) == 0);
  o.level_seconds = {0, 0, 60, 0, 0};
  CHECK(lost(o) == 10);
}

TEST_CASE("what happened before the recording is no reason") {
  Observed o = well();
  o.first.emergencies = o.last.emergencies = 7;
  CHECK(lost(o) == 0);
  o.last.emergencies = 8;
  CHECK(lost(o) == 10);
  CHECK(judge(o).deductions[0].why == "1 allocations had to make room first");
}

TEST_CASE("free memory that is resident costs beyond a quarter, and only where it is much") {
  Observed o = well();
  o.mean_free_resident_bytes = o.mean_resident_bytes / 4;
  CHECK(lost(o) == 0);
  o.mean_free_resident_bytes = o.mean_resident_bytes * 0.625;
  CHECK(lost(o) == 10);
  o.mean_free_resident_bytes = o.mean_resident_bytes;
  CHECK(lost(o) == 20);
  o.mean_resident_bytes = o.mean_free_resident_bytes = 10.0 * kMiB;
  CHECK(lost(o) == 0);
}

TEST_CASE("refaults, misses, a busy worker and a poor forecast cost a little each") {
  Observed o = well();
  o.last.decommitted_bytes = 100 * kMiB;
  o.last.refaulted_bytes = 49 * kMiB;
  CHECK(lost(o) == 0);
  o.last.refaulted_bytes = 50 * kMiB;
  CHECK(lost(o) == 5);

  o = well();
  o.last.magazine_misses = o.last.magazine_hits / 10;
  CHECK(lost(o) == 5);
  o.first.magazine_misses = o.last.magazine_misses;
  CHECK(lost(o) == 0);

  o = well();
  o.last.worker_cpu_ns = 1'200'000'000;
  CHECK(lost(o) == 5);

  o = well();
  o.last.forecasts_judged = 20;
  o.last.forecast_coverage = 699;
  CHECK(lost(o) == 3);
  o.last.forecast_coverage = 700;
  CHECK(lost(o) == 0);
}

TEST_CASE("the score does not fall below 0, and all reasons stay") {
  Observed o = well();
  for (int i = 0; i < 9; ++i) o.findings.push_back({Severity::problem, "p", "q", ""});
  const Health health = judge(o);
  CHECK(health.points == 0);
  CHECK(health.deductions.size() == 9);
}
