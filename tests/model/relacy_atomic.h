// Relacy's atomics behind the interface of std::atomic, so that the library's lock-free code runs under the model
// checker as it is; and, for the proof that the checker would notice, the same atomics with one rule broken.
//
// Relacy turns `new`, `free`, `errno`, the names of the memory orders and `$` into macros: the library's headers come
// before it, and its macros end here.
#ifndef POOLMALLOC_TESTS_MODEL_RELACY_ATOMIC_H_
#define POOLMALLOC_TESTS_MODEL_RELACY_ATOMIC_H_

#include <atomic>
#include <cstdint>

#include "base/index_stack.h"
#include "slab/slab_record.h"

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdollar-in-identifier-extension"
#endif
#include <relacy/relacy.hpp>
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno

// What is broken on purpose.
enum class Break {
  nothing,
  weak_orders,        // slab: acquire and release where sequential consistency is needed
  no_second_look,     // slab: the holder that stored `full` sees no bits when it reads them again
  no_generation,      // slab: the state word forgets the life it belongs to
  split_exchange,     // slab: compare-and-swap of the state done as a read and a write
  free_not_release,   // slab: setting a bit publishes nothing
  take_not_acquire,   // slab: clearing bits receives nothing
  empty_not_acquire,  // slab: looking whether all bits are set receives nothing
  push_not_release,   // stack
  pop_not_acquire,    // stack
  no_tag,             // stack: a head that came back looks as if it had never left
};

inline rl::memory_order relacy_order(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed: return rl::mo_relaxed;
    case std::memory_order_consume: return rl::mo_consume;
    case std::memory_order_acquire: return rl::mo_acquire;
    case std::memory_order_release: return rl::mo_release;
    case std::memory_order_acq_rel: return rl::mo_acq_rel;
    default: return rl::mo_seq_cst;
  }
}

template <typename T>
class RelacyAtomic {
 public:
  RelacyAtomic() : value_(T{}) {}
  explicit(false) RelacyAtomic(T value) : value_(value) {}

  T load(std::memory_order order) const { return value_.load(relacy_order(order), RL_INFO); }
  void store(T value, std::memory_order order) { value_.store(value, relacy_order(order), RL_INFO); }
  T fetch_or(T value, std::memory_order order) { return value_.fetch_or(value, relacy_order(order), RL_INFO); }
  T fetch_and(T value, std::memory_order order) { return value_.fetch_and(value, relacy_order(order), RL_INFO); }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    return value_.compare_exchange(rl::bool_t<true>(), expected, desired, relacy_order(success), relacy_order(failure),
                                   RL_INFO);
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    return value_.compare_exchange(rl::bool_t<false>(), expected, desired, relacy_order(success), relacy_order(failure),
                                   RL_INFO);
  }

 private:
  rl::atomic<T> value_;
};

// For SlabCore, whose state word has 32 bits and whose bitmap words have 64.
template <Break kBreak, typename T>
class SlabAtomic {
 public:
  SlabAtomic() = default;
  explicit(false) SlabAtomic(T value) : value_(value) {}

  T load(std::memory_order order) const {
    if constexpr (kBreak == Break::weak_orders) {
      if (order == std::memory_order_seq_cst) order = std::memory_order_acquire;
    }
    if constexpr (kBreak == Break::no_second_look && kIsBitmap) {
      if (order == std::memory_order_seq_cst) return 0;
    }
    if constexpr (kBreak == Break::empty_not_acquire && kIsBitmap) {
      if (order == std::memory_order_acquire) order = std::memory_order_relaxed;
    }
    return value_.load(order);
  }

  void store(T value, std::memory_order order) {
    if constexpr (kBreak == Break::weak_orders) {
      if (order == std::memory_order_seq_cst) order = std::memory_order_release;
    }
    value_.store(kept(value), order);
  }

  T fetch_or(T value, std::memory_order order) {
    if constexpr (kBreak == Break::weak_orders) order = std::memory_order_acq_rel;
    if constexpr (kBreak == Break::free_not_release) order = std::memory_order_acquire;
    return value_.fetch_or(value, order);
  }

  T fetch_and(T value, std::memory_order order) {
    if constexpr (kBreak == Break::take_not_acquire) order = std::memory_order_relaxed;
    return value_.fetch_and(value, order);
  }

  bool compare_exchange_strong(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    if constexpr (kBreak == Break::split_exchange) {
      const T now = value_.load(failure);
      if (now == expected) value_.store(desired, success);
      const bool done = now == expected;
      expected = now;
      return done;
    }
    if constexpr (kBreak == Break::weak_orders) {
      success = std::memory_order_acq_rel;
      failure = std::memory_order_acquire;
    }
    // What is compared has to have lost what the stored value lost.
    T stored = kept(expected);
    const bool done = value_.compare_exchange_strong(stored, kept(desired), success, failure);
    if (!done) expected = stored;
    return done;
  }

 private:
  static constexpr bool kIsBitmap = sizeof(T) == 8;

  static T kept(T value) {
    if constexpr (kBreak == Break::no_generation && !kIsBitmap) return value & 3;
    return value;
  }

  RelacyAtomic<T> value_;
};

// For IndexStack, whose head has 64 bits (tag and index) and whose links have 32.
template <Break kBreak, typename T>
class StackAtomic {
 public:
  StackAtomic() = default;
  explicit(false) StackAtomic(T value) : value_(value) {}

  T load(std::memory_order order) const { return value_.load(weakened(order)); }
  void store(T value, std::memory_order order) { value_.store(value, order); }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success, std::memory_order failure) {
    if constexpr (kBreak == Break::no_tag) desired &= UINT32_MAX;
    return value_.compare_exchange_weak(expected, desired, weakened(success), weakened(failure));
  }

 private:
  static std::memory_order weakened(std::memory_order order) {
    const bool broken = (kBreak == Break::push_not_release && order == std::memory_order_release) ||
                        (kBreak == Break::pop_not_acquire && order == std::memory_order_acquire);
    return broken ? std::memory_order_relaxed : order;
  }

  RelacyAtomic<T> value_;
};

// What SlabCore and IndexStack take as their parameter.
template <Break kBreak>
struct Atomics {
  template <typename T>
  using Slab = SlabAtomic<kBreak, T>;
  template <typename T>
  using Stack = StackAtomic<kBreak, T>;
};

#endif  // POOLMALLOC_TESTS_MODEL_RELACY_ATOMIC_H_
