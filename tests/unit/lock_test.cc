#include "base/lock.h"

#include <atomic>
#include <thread>
#include <vector>

#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

TEST_CASE("a thread knows what it holds, others do not") {
  Lock lock(LockRank::layout);
  CHECK_FALSE(lock.held_by_this_thread());
  lock.lock();
  CHECK(lock.held_by_this_thread());
  CHECK_FALSE(lock.try_lock());
  std::thread([&] {
    CHECK_FALSE(lock.held_by_this_thread());
    CHECK_FALSE(lock.try_lock());
    CHECK(locks_held == 0);
  }).join();
  lock.unlock();
  CHECK_FALSE(lock.held_by_this_thread());
  CHECK(locks_held == 0);
  CHECK(lock.try_lock());
  lock.unlock();
}

TEST_CASE("locks nest in the order of their ranks") {
  in_fresh_process([] {
    Lock outer(LockRank::layout);
    Lock inner(LockRank::region);
    const LockGuard first(outer);
    const LockGuard second(inner);
    EXPECT(outer.held_by_this_thread() && inner.held_by_this_thread());
  });
}

#if POOLMALLOC_DEBUG
TEST_CASE("debug builds refuse the wrong order, the same rank, and the same lock again") {
  const auto take_both = [](LockRank first, LockRank second) {
    pm::test::expect_abort(
        [=] {
          Lock a(first);
          Lock b(second);
          a.lock();
          b.lock();
        },
        "broken invariant");
  };
  take_both(LockRank::region, LockRank::layout);
  take_both(LockRank::shard1, LockRank::shard1);
  take_both(LockRank::handler_shard, LockRank::options);
}
#endif

TEST_CASE("the fork handler may hold several of one rank") {
  in_fresh_process([] {
    Lock a(LockRank::magazine);
    Lock b(LockRank::magazine);
    a.lock_for_fork();
    b.lock_for_fork();
    a.unlock();
    b.unlock();
    EXPECT(locks_held == 0);
    EXPECT(a.try_lock());
    a.unlock();
  });
}

TEST_CASE("many threads, one counter") {
  Lock lock(LockRank::layout);
  constexpr int kTurns = 20000;
  constexpr int kThreads = 4;
  int counter = 0;
  std::atomic<int> tried{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < kTurns; ++turn) {
        if (turn % 2 == 0) {
          const LockGuard guard(lock);
          ++counter;
        } else if (lock.try_lock()) {
          ++counter;
          lock.unlock();
          tried.fetch_add(1);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(counter == kThreads * kTurns / 2 + tried.load());
}

// The holder sleeps, so that the others go all the way to the futex and must be woken.
TEST_CASE("sleepers are woken") {
  Lock lock(LockRank::layout);
  std::atomic<int> done{0};
  lock.lock();
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      const LockGuard guard(lock);
      done.fetch_add(1);
    });
  }
  usleep(20000);
  CHECK(done.load() == 0);
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
  CHECK(done.load() == 3);
}

}  // namespace
