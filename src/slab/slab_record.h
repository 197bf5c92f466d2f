// One slab's record and its lock-free state machine.
//
// A slab is a run of granules divided into slots of one size class. Its record holds one bit a slot: set while the slot
// is free *in the slab*. Slots in a magazine, in the depot or with the program have their bit clear. The record lies
// outside the slab and is never unmapped.
//
// States, and who may do what:
//
//   none     no slab. Nobody refers to it.
//   active   held by exactly one thread, the holder (a refill, a sweep, its creator). Only the holder clears bits.
//   partial  on the stack of its class, exactly once. Nobody clears bits.
//   full     on no stack: its holder found no bit set. Nobody clears bits.
//
//   Anybody who owns a slot of the slab may set its bit, in any state but none: that is a free.
//
//   none -> active             creator, before the slab is known to anybody
//   active -> partial, push    holder, when bits are left
//   pop, partial -> active     popper, who becomes the holder
//   active -> full             holder, when it took the last bit; then it reads the bitmap again
//   full -> active             the same thread, if that found a bit (compare-and-swap)
//   full -> partial, push      a free that set a bit and then saw `full` (compare-and-swap: one wins)
//   active -> none             holder, when all bits are set: no slot is outside, so nobody else refers to the slab
//
// No free is lost: the holder stores `full` and then reads the bits; the free sets its bit and then reads the state.
// Both sides are sequentially consistent, so at least one of them sees the other (Dekker), and the compare-and-swap on
// the state lets exactly one of them act.
//
// Reuse: a thread that set the last bit may sleep before it reads the state; meanwhile the slab may be released and its
// record serve another slab. The state word therefore carries a generation, which changes with every life, and the
// thread compares with the word that it read *before* it set its bit, when its own slot kept the slab alive.
//
// The template parameter lets a model checker run this very code (tests/model/slab_relacy.cc).
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "base/bits.h"

namespace pm {

enum class SlabState : uint32_t { none = 0, active = 1, partial = 2, full = 3 };

template <template <typename> typename Atomic, unsigned kWords>
class SlabCore {
 public:
  // What a free did to its slab.
  struct Put {
    bool double_free;  // one of the bits was set already; nothing was changed for that bit
    bool revived;      // full -> partial: the caller must push the slab
  };

  // Creator only: all slots free, state active.
  void create(uint32_t slots) {
    slots_.store(slots, std::memory_order_relaxed);
    for (unsigned w = 0; w < words(); ++w) bits_[w].store(full_word(w), std::memory_order_relaxed);
    const uint32_t word = state_.load(std::memory_order_relaxed);
    // Published to others by the push of the stack or by handing out an object.
    state_.store(make(generation(word) + 1, SlabState::active), std::memory_order_release);
  }

  // Holder only: takes up to `wanted` slots and calls emit(word, mask) for them. Returns how many it took.
  template <typename Emit>
  uint32_t take(uint32_t wanted, const Emit& emit) {
    uint32_t taken = 0;
    for (unsigned w = 0; w < words() && taken < wanted; ++w) {
      uint64_t mask = bits_[w].load(std::memory_order_relaxed);
      if (mask == 0) continue;
      while (count_bits(mask) > wanted - taken) mask &= ~(uint64_t{1} << log2_floor(mask));
      // Acquire pairs with the release in put(): what the slot's last owner wrote is over before the next one writes.
      bits_[w].fetch_and(~mask, std::memory_order_acquire);
      emit(w, mask);
      taken += count_bits(mask);
    }
    return taken;
  }

  // Holder only: gives the slab up. Returns true if it became partial, so that the caller must push it; false if it is
  // full.
  bool leave() {
    if (any_bit(std::memory_order_relaxed)) return leave_partial();
    const uint32_t generation_now = generation(state_.load(std::memory_order_relaxed));
    // seq_cst store, then seq_cst reads of the bits: pairs with put(), which does the two in the other order.
    state_.store(make(generation_now, SlabState::full), std::memory_order_seq_cst);
    if (!any_bit(std::memory_order_seq_cst)) return false;
    uint32_t expected = make(generation_now, SlabState::full);
    if (!state_.compare_exchange_strong(expected, make(generation_now, SlabState::partial), std::memory_order_seq_cst,
                                        std::memory_order_seq_cst)) {
      return false;  // a free was first, and pushes
    }
    return true;
  }

  // Popper only, right after the pop: becomes the holder.
  void hold() {
    const uint32_t word = state_.load(std::memory_order_relaxed);
    state_.store(make(generation(word), SlabState::active), std::memory_order_relaxed);
  }

  // Owner of the slots in `mask` only.
  Put put(unsigned w, uint64_t mask) {
    const uint32_t before = state_.load(std::memory_order_relaxed);
    // seq_cst: see leave(). It is also the release that take()'s acquire pairs with.
    const uint64_t old = bits_[w].fetch_or(mask, std::memory_order_seq_cst);
    uint32_t expected = make(generation(before), SlabState::full);
    bool revived = false;
    if (state_.load(std::memory_order_seq_cst) == expected) {
      revived = state_.compare_exchange_strong(expected, make(generation(before), SlabState::partial),
                                               std::memory_order_seq_cst, std::memory_order_seq_cst);
    }
    return {(old & mask) != 0, revived};
  }

  // Holder only, when is_empty(): the slab's life ends.
  void destroy() {
    const uint32_t word = state_.load(std::memory_order_relaxed);
    state_.store(make(generation(word), SlabState::none), std::memory_order_release);
  }

  // Exact for the holder; a hint for others. Acquire pairs with put(): the holder may reuse the memory for anything.
  bool is_empty() const {
    for (unsigned w = 0; w < words(); ++w) {
      if (bits_[w].load(std::memory_order_acquire) != full_word(w)) return false;
    }
    return true;
  }
  bool word_is_full(unsigned w) const { return bits_[w].load(std::memory_order_relaxed) == full_word(w); }

  // A hint, for statistics and for the order of the stack.
  uint32_t free_slots() const {
    uint32_t count = 0;
    for (unsigned w = 0; w < words(); ++w) {
      count += count_bits(bits_[w].load(std::memory_order_relaxed));
    }
    return count;
  }

  // Calls emit(first, end) for each run of free slots, in order. Exact for the holder but for slots that come back
  // meanwhile.
  template <typename Emit>
  void each_free_run(const Emit& emit) const {
    for (uint32_t first = find(0, true); first < slots();) {
      const uint32_t end = find(first, false);
      emit(first, end);
      first = find(end, true);
    }
  }

  bool is_free(uint32_t slot) const {
    return (bits_[slot / 64].load(std::memory_order_relaxed) >> (slot % 64) & 1U) != 0;
  }

  SlabState state() const { return static_cast<SlabState>(state_.load(std::memory_order_relaxed) & 3U); }
  unsigned words() const { return (slots() + 63) / 64; }
  uint32_t slots() const { return slots_.load(std::memory_order_relaxed); }

 private:
  static uint32_t make(uint32_t generation, SlabState state) { return generation << 2 | static_cast<uint32_t>(state); }
  static uint32_t generation(uint32_t word) { return word >> 2; }

  uint64_t full_word(unsigned w) const {
    const uint32_t rest = slots() - w * 64;
    return low_bits(rest < 64 ? rest : 64);
  }

  // The first slot from `from` on that is free, or not free; slots() if there is none.
  uint32_t find(uint32_t from, bool free) const {
    for (uint32_t w = from / 64; w < words(); ++w) {
      uint64_t bits = bits_[w].load(std::memory_order_relaxed);
      if (!free) bits = ~bits;
      if (w == from / 64) bits &= ~low_bits(from % 64);
      if (bits == 0) continue;
      const uint32_t found = w * 64 + static_cast<uint32_t>(std::countr_zero(bits));
      return found < slots() ? found : slots();
    }
    return slots();
  }

  bool any_bit(std::memory_order order) const {
    for (unsigned w = 0; w < words(); ++w) {
      if (bits_[w].load(order) != 0) return true;
    }
    return false;
  }

  bool leave_partial() {
    const uint32_t word = state_.load(std::memory_order_relaxed);
    // Only the holder changes `active`, so a store does. The push that follows publishes it.
    state_.store(make(generation(word), SlabState::partial), std::memory_order_release);
    return true;
  }

  Atomic<uint32_t> state_{0};
  // Written by the creator, constant while the slab lives; whoever only looks may see the next life's.
  Atomic<uint32_t> slots_{0};
  Atomic<uint64_t> bits_[kWords]{};
};

}  // namespace pm
