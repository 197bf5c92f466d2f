#include "reclaim/idle_history.h"

#include <memory>

#include "tests/catch.h"

namespace {

using pm::IdleHistory;
using pm::IdlePrice;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr IdlePrice kPrice = {100, 1000};  // break-even after ten seconds

struct Clock {
  std::unique_ptr<IdleHistory> history = std::make_unique<IdleHistory>();
  uint64_t now = kSecond;

  void demand(uint64_t mib, uint64_t seconds) {
    for (uint64_t i = 0; i < 10 * seconds; ++i) {
      now += kSecond / 10;
      history->add(now, mib * kMiB, 0);
    }
  }
  uint64_t kept_mib(uint64_t held_mib) const { return history->judge(held_mib * kMiB, kPrice).keep / kMiB; }
};

TEST_CASE("each height goes by its own idle times") {
  Clock clock;
  // 10 to 20 MiB are wanted every four seconds, 20 to 30 once in a hundred.
  for (int i = 0; i < 10; ++i) {
    for (int k = 0; k < 25; ++k) {
      clock.demand(20, 2);
      clock.demand(10, 2);
    }
    clock.demand(30, 2);
  }
  clock.demand(10, 1);
  CHECK(clock.kept_mib(30) == 20);
  // Idle for longer than ever before: nothing says that it will be wanted soon.
  clock.demand(10, 10);
  CHECK(clock.kept_mib(30) <= 11);
}

TEST_CASE("one cell's experience helps those that have none") {
  Clock clock;
  for (int i = 0; i < 10; ++i) {
    clock.demand(20, 3);
    clock.demand(10, 3);
  }
  clock.demand(30, 1);  // never seen before
  clock.demand(10, 1);
  CHECK(clock.kept_mib(30) == 30);
}

TEST_CASE("the cells grow with demand and shrink when it has been low for an hour") {
  Clock clock;
  clock.demand(10, 1);
  CHECK(clock.history->cell_bytes() == 64 * 1024);
  clock.demand(1000, 1);
  CHECK(clock.history->cell_bytes() == 2 * kMiB);
  clock.demand(10, 1800);
  CHECK(clock.history->cell_bytes() == 2 * kMiB);
  clock.demand(10, 2000);
  CHECK(clock.history->cell_bytes() < 2 * kMiB);
}

TEST_CASE("a peak between two samples counts as demand") {
  Clock clock;
  clock.demand(10, 1);
  clock.now += kSecond;
  clock.history->add(clock.now, 10 * kMiB, 30 * kMiB);
  CHECK(clock.history->resting(kSecond / 2).height == UINT64_MAX);
  clock.demand(10, 1);
  CHECK(clock.history->resting(kSecond / 2).height <= 11 * kMiB);
  CHECK(clock.history->resting(20 * kSecond).more_in_ns <= 19 * kSecond);
}

TEST_CASE("free memory is dropped at once where dropping is free, and kept where holding is") {
  Clock clock;
  clock.demand(30, 5);
  clock.demand(10, 1);
  CHECK(clock.history->judge(30 * kMiB, {100, 0}).keep == 10 * kMiB);
  CHECK(clock.history->judge(30 * kMiB, {0, 1000}).keep == 30 * kMiB);
  CHECK(clock.history->judge(5 * kMiB, kPrice).keep == 5 * kMiB);
}

}  // namespace
