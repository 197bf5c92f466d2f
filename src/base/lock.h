// A small futex lock with a rank.
//
// Ranks give the one order in which locks may be nested: a thread may take a lock only if its rank is higher than every
// rank it holds (debug builds check). No lock is held across a system call that can stall, and every lock is taken by
// the fork handler, in rank order, so that a child never inherits one held by a thread it does not have.
//
// A signal handler that allocates while its own thread holds a lock cannot wait for it. `held_by_this_thread` lets the
// caller see that and take another way.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/check.h"
#include "base/compiler.h"

namespace pm {

// In the order in which they nest, outermost first.
enum class LockRank : uint8_t {
  options,
  layout,
  magazine,
  profile,
  file_heap,
  shard0,
  shard1,
  shard2,
  shard3,
  region,
  handler_shard
};

// Ranks this thread holds or is about to hold, one bit each. Written only by its own thread (and its signal handlers,
// which restore it).
extern constinit thread_local uint32_t locks_held __attribute__((tls_model("initial-exec")));

// True in a signal handler that interrupted its own thread while that held a lock: there, waiting for any lock that
// outer code may hold could be for ever. Such code takes locks by try_lock, or the one lock kept for handlers.
inline bool inside_lock() { return locks_held != 0; }

class Lock {
 public:
  constexpr explicit Lock(LockRank rank) : rank_(rank) {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void lock() {
    PM_ASSERT((locks_held >> static_cast<unsigned>(rank_)) == 0);
    locks_held = locks_held | bit();
    // Marked before taken and unmarked after released: a signal handler in between errs on the safe side.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    uint32_t expected = kFree;
    // Acquire pairs with the release exchange in unlock().
    if (PM_UNLIKELY(
            !state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire, std::memory_order_relaxed))) {
      lock_slowly();
    }
  }

  bool try_lock() {
    if (held_by_this_thread()) return false;
    locks_held = locks_held | bit();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    uint32_t expected = kFree;
    if (PM_LIKELY(
            state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire, std::memory_order_relaxed))) {
      return true;
    }
    locks_held = locks_held & ~bit();
    return false;
  }

  void unlock() {
    if (PM_UNLIKELY(state_.exchange(kFree, std::memory_order_release) == kContended)) wake_one();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    locks_held = locks_held & ~bit();
  }

  bool held_by_this_thread() const { return (locks_held & bit()) != 0; }

  // The fork handler takes all locks of a rank, which nothing else may.
  void lock_for_fork() {
    locks_held = locks_held & ~bit();
    lock();
  }

  // In a forked child, where no other thread exists: the lock is free again. `interrupted` means that the fork came
  // from a signal handler inside a lock of its own thread, which goes on in the child and will release it.
  void reset_in_child(bool interrupted) {
    if (interrupted && held_by_this_thread()) return;
    state_.store(kFree, std::memory_order_relaxed);
    locks_held = locks_held & ~bit();
  }

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kHeld = 1;
  static constexpr uint32_t kContended = 2;

  uint32_t bit() const { return uint32_t{1} << static_cast<unsigned>(rank_); }
  PM_COLD void lock_slowly();
  PM_COLD void wake_one();

  std::atomic<uint32_t> state_{kFree};
  const LockRank rank_;
};

class LockGuard {
 public:
  explicit LockGuard(Lock& lock) : lock_(lock) { lock_.lock(); }
  ~LockGuard() { lock_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace pm
