#include "reclaim/keep.h"

#include <algorithm>
#include <memory>
#include <random>

#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr IdlePrice kPrice = {100, 2000};  // break-even after twenty seconds

struct Heap {
  std::unique_ptr<IdleHistory> idle = std::make_unique<IdleHistory>();
  std::unique_ptr<Keeper> keeper = std::make_unique<Keeper>();
  uint64_t now = kSecond;
  uint64_t resident = 0;
  KeepRule rule = KeepRule::history;

  void step(uint64_t demand) {
    resident = std::max(resident, demand);
    idle->add(now, demand, 0);
    const Keeper::Decision decision = keeper->decide(*idle, resident, kPrice);
    REQUIRE(decision.keep >= demand);
    REQUIRE(decision.keep <= resident);
    idle->settle(decision.keep);
    resident = decision.keep;
    rule = decision.rule;
    now += kSecond / 2;
  }
};

// Steps of a random walk; returns where it ends.
uint64_t wander(Heap& heap, int steps) {
  std::mt19937_64 random(5);
  uint64_t demand = 300 * kMiB;
  for (int i = 0; i < steps; ++i) {
    demand += random() % (4 * kMiB + 1);
    demand -= std::min<uint64_t>(demand - 100 * kMiB, 2 * kMiB);
    if (demand > 500 * kMiB) demand = 500 * kMiB;
    heap.step(demand);
  }
  return demand;
}

TEST_CASE("what wanders is kept by distance") {
  Heap heap;
  wander(heap, 4000);
  CHECK(heap.rule == KeepRule::distance);
}

TEST_CASE("a rhythm with two different pauses is kept by its history") {
  Heap heap;
  for (int i = 0; i < 60; ++i) {
    for (int k = 0; k < 8; ++k) heap.step(400 * kMiB);
    for (int k = 0; k < 20; ++k) heap.step(100 * kMiB);
    for (int k = 0; k < 8; ++k) heap.step(200 * kMiB);
    for (int k = 0; k < 200; ++k) heap.step(100 * kMiB);
  }
  CHECK(heap.rule == KeepRule::history);
}

TEST_CASE("a heap that has wandered keeps nothing for long once it rests") {
  Heap heap;
  const uint64_t end = wander(heap, 4000);
  REQUIRE(heap.rule == KeepRule::distance);
  // It falls by less than the distance in use would keep.
  const uint64_t low = end - 20 * kMiB;
  for (int i = 0; i < 60; ++i) heap.step(low);
  CHECK(heap.resident <= low + 2 * kMiB);
}

TEST_CASE("a clock that stands or runs backwards is survived") {
  Heap heap;
  for (int i = 0; i < 200; ++i) {
    heap.step((100 + static_cast<uint64_t>(i % 7) * 10) * kMiB);
    if (i % 3 == 0) heap.now = kSecond * static_cast<uint64_t>(1 + i % 5);
  }
  CHECK(heap.resident >= 100 * kMiB);
}

}  // namespace
