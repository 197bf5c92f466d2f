// A lock-free LIFO of records that are named by a 32-bit index and never unmapped (Treiber, "Systems programming:
// coping with parallelism", 1986).
//
// The head holds the index of the first record (plus one; zero is empty) and a 32-bit tag that grows with every change,
// so that a pop that slept while its record was popped and pushed again fails its compare-and-swap (ABA). Records may
// be read while another thread owns them: their `next` is atomic and a stale value is thrown away with the failed swap.
//
// Ownership: push publishes the record (release), pop and take_all receive it (acquire).
#pragma once

#include <atomic>
#include <cstdint>

namespace pm {

inline constexpr uint32_t kNoIndex = UINT32_MAX;

// `Links` maps an index to its std::atomic<uint32_t>& next: `links(index)`. Atomic is a parameter so that a model
// checker can supply its own.
template <template <typename> typename Atomic = std::atomic>
class IndexStack {
 public:
  template <typename Links>
  void push(uint32_t index, const Links& links) {
    uint64_t head = head_.load(std::memory_order_relaxed);
    do {
      links(index).store(first(head), std::memory_order_relaxed);
      // Release pairs with the acquire in pop and take_all: they see the record and its next.
    } while (
        !head_.compare_exchange_weak(head, make(index, head), std::memory_order_release, std::memory_order_relaxed));
  }

  // Pushes a chain that the caller owns: `first` ... `last` are linked through `links` already.
  template <typename Links>
  void push_chain(uint32_t chain_first, uint32_t chain_last, const Links& links) {
    uint64_t head = head_.load(std::memory_order_relaxed);
    do {
      links(chain_last).store(first(head), std::memory_order_relaxed);
    } while (!head_.compare_exchange_weak(head, make(chain_first, head), std::memory_order_release,
                                          std::memory_order_relaxed));
  }

  // The popped index, or kNoIndex.
  template <typename Links>
  uint32_t pop(const Links& links) {
    uint64_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      const uint32_t index = first(head);
      if (index == kNoIndex) return kNoIndex;
      const uint32_t next = links(index).load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, make(next, head), std::memory_order_acquire, std::memory_order_acquire)) {
        return index;
      }
    }
  }

  // Takes the whole stack; the caller walks it through `links`.
  uint32_t take_all() {
    uint64_t head = head_.load(std::memory_order_acquire);
    while (first(head) != kNoIndex &&
           !head_.compare_exchange_weak(head, make(kNoIndex, head), std::memory_order_acquire,
                                        std::memory_order_acquire)) {
    }
    return first(head);
  }

  bool empty() const { return first(head_.load(std::memory_order_relaxed)) == kNoIndex; }
  uint32_t peek() const { return first(head_.load(std::memory_order_acquire)); }

 private:
  static uint32_t first(uint64_t head) { return static_cast<uint32_t>(head) - 1; }
  static uint64_t make(uint32_t index, uint64_t old_head) {
    const uint64_t tag = (old_head >> 32) + 1;
    return (tag << 32) | static_cast<uint32_t>(index + 1);
  }

  Atomic<uint64_t> head_{0};
};

}  // namespace pm
