#include "magazine/layout.h"

#include <type_traits>

#include "base/check.h"
#include "magazine/arming.h"
#include "magazine/rejected.h"
#include "magazine/sampling.h"

namespace pm {

Lock layout_lock{LockRank::layout};
std::atomic<uint64_t> magazine_budget_bytes{0};
bool magazine_checks = true;
LayoutCounters layout_counters;

namespace {

constexpr uint32_t kFirstCapacity = 8;
// Arrays of more slots end in the first half of a block, so that a few busy classes leave room for all others.
constexpr uint32_t kLargeArray = 512;
constexpr uint32_t kStepsOfHand = 4;

uint32_t top_of(uint64_t word) { return static_cast<uint32_t>(word & kTopMask); }
uint64_t with_top(uint64_t word, uint32_t top) { return (word & ~kTopMask) | top; }

uint32_t next_capacity(uint32_t now, const SizeClass& c) {
  const uint32_t wanted = now == 0 ? kFirstCapacity : now * 2;
  return wanted < c.magazine_max ? wanted : c.magazine_max;
}

// Whether the hot path pops from these blocks, so that their words are to be armed.
template <typename Access>
bool is_hot() {
#if PM_HAS_RSEQ
  return std::is_same_v<Access, RseqAccess> && hot_blocks == magazine_blocks;
#else
  return false;
#endif
}

uint64_t limits_of(ClassId id, uint32_t end) {
  return MagazineLimits::pack(end, magazine_checks ? class_table->divisor[id] : UINT32_MAX);
}

// Publishes a closed magazine with `count` objects at its new place; see the states in layout.h.
template <typename Access>
void open_magazine(uint32_t cpu, ClassId id, uint32_t begin, uint32_t capacity, uint32_t count) {
  CpuBlock& block = Access::block(cpu);
  block.tallies[id].begin = static_cast<uint16_t>(begin);
  block.tallies[id].capacity = static_cast<uint16_t>(capacity);
  block.tallies[id].room = static_cast<uint16_t>(capacity);
  slots_of(block)[begin + capacity + 1].store(kWall, std::memory_order_relaxed);
  if (PM_UNLIKELY(sampling_table() != nullptr) && is_hot<Access>()) arm_closed(block, id, false);
  const uint64_t word = block.words[id].load(std::memory_order_relaxed);
  Access::open(cpu, id, with_top(word, begin + count), limits_of(id, begin + capacity));
}

// Moves what an open magazine holds above `capacity` to the slabs and walls it off there. False if the thread has moved
// to another CPU meanwhile; then it is as large as before.
template <typename Access>
bool narrow(uint32_t cpu, ClassId id, uint32_t capacity) {
  CpuBlock& block = Access::block(cpu);
  MagazineTally& tally = block.tallies[id];
  const uint32_t end = tally.begin + capacity;
  if (!Access::close(cpu, id)) return false;
  void* objects[64];
  for (;;) {
    // Acquire: as in relocate.
    const uint32_t top = top_of(block.words[id].load(std::memory_order_acquire));
    if (top <= end) break;
    const uint32_t n = Access::pop_batch(cpu, id, objects, top - end < 64 ? top - end : 64);
    if (n == 0) {
      Access::reopen(cpu, id, limits_of(id, tally.begin + tally.capacity));
      return false;
    }
    tally.flushed.fetch_add(n, std::memory_order_relaxed);
    give_to_slabs(id, objects, n);
  }
  slots_of(block)[end + 1].store(kWall, std::memory_order_relaxed);
  tally.capacity = static_cast<uint16_t>(capacity);
  Access::reopen(cpu, id, limits_of(id, end));
  return true;
}

// Halves idle magazines (unused since the hand came by last) until `wanted_bytes` of capacity are gained. False if
// there were not enough: the hand goes a few steps at a time, so that "idle" means for many misses and overflows, and a
// CPU whose classes are all in use does not take from one for the other and back again.
template <typename Access>
bool take_from_idle(uint32_t cpu, ClassId growing, uint32_t wanted_bytes) {
  CpuBlock& block = Access::block(cpu);
  uint32_t gained = 0;
  uint32_t steps = 0;
  // Once round at most: a class that is met twice in one call was not used in between.
  for (uint32_t looked = 1; looked < class_table->count && steps < kStepsOfHand && gained < wanted_bytes; ++looked) {
    block.shrink_hand = block.shrink_hand + 1 < class_table->count ? block.shrink_hand + 1 : 1;
    const auto id = static_cast<ClassId>(block.shrink_hand);
    MagazineTally& tally = block.tallies[id];
    if (id == growing || tally.capacity < 2) continue;
    ++steps;
    const auto use = static_cast<uint32_t>(use_of(block, id));
    const bool idle = use == tally.use_seen;
    tally.use_seen = use;
    if (!idle) continue;
    const uint32_t capacity = tally.capacity / 2U;
    const uint32_t freed = (tally.capacity - capacity) * size_class(id).size;
    if (!narrow<Access>(cpu, id, capacity)) return false;
    block.capacity_bytes.fetch_sub(freed, std::memory_order_relaxed);
    gained += freed;
    layout_counters.shrinks.fetch_add(1, std::memory_order_relaxed);
  }
  return gained >= wanted_bytes;
}

bool has_place(uint32_t begin, uint32_t capacity) {
  return begin + capacity + 2 < (capacity > kLargeArray ? kArraysEnd / 2 : kArraysEnd);
}

// Lengthens the last array of the block.
bool extend(CpuBlock& block, ClassId id, uint32_t capacity) {
  MagazineTally& tally = block.tallies[id];
  const bool last = tally.begin + tally.room + 2U == block.next_slot.load(std::memory_order_relaxed);
  if (!last || !has_place(tally.begin, capacity)) return false;
  tally.room = static_cast<uint16_t>(capacity);
  block.next_slot.store(tally.begin + capacity + 2, std::memory_order_relaxed);
  return true;
}

// Gives the magazine an array of `capacity` slots behind all others of the block; see the states in layout.h.
template <typename Access>
bool relocate(uint32_t cpu, ClassId id, uint32_t capacity) {
  CpuBlock& block = Access::block(cpu);
  MagazineTally& tally = block.tallies[id];
  const uint32_t old_begin = tally.begin;
  uint32_t place = block.next_slot.load(std::memory_order_relaxed);
  if (place == 0) place = kFirstSlot;
  if (!has_place(place, capacity) || !Access::close(cpu, id)) return false;
  std::atomic<void*>* const slots = slots_of(block);
  auto* const array = reinterpret_cast<void**>(slots + place + 1);
  uint32_t count = 0;
  if (old_begin != 0) {
    for (;;) {
      const uint32_t n = Access::pop_batch(cpu, id, array + count, capacity - count);
      if (n == 0) break;
      count += n;
    }
    if (top_of(block.words[id].load(std::memory_order_acquire)) > old_begin) {
      // Moved to another CPU half way: what came out goes to the slabs, the magazine opens again where it was.
      tally.flushed.fetch_add(count, std::memory_order_relaxed);
      give_to_slabs(id, array, count);
      Access::reopen(cpu, id, limits_of(id, old_begin + tally.capacity));
      return false;
    }
    // The batch came out topmost first.
    for (uint32_t i = 0; i < count / 2; ++i) {
      void* const other = array[i];
      array[i] = array[count - 1 - i];
      array[count - 1 - i] = other;
    }
  }
  block.next_slot.store(place + capacity + 2, std::memory_order_relaxed);
  open_magazine<Access>(cpu, id, place, capacity, count);
  return true;
}

// A magazine grows in the array it has, where that is long enough. From any CPU: nobody looks behind its wall.
template <typename Access>
void widen(uint32_t cpu, ClassId id, uint32_t capacity) {
  CpuBlock& block = Access::block(cpu);
  MagazineTally& tally = block.tallies[id];
  std::atomic<void*>* const slots = slots_of(block) + tally.begin + 1;
  slots[capacity].store(kWall, std::memory_order_relaxed);
  // Walls of earlier shrinks may stand in between. Release: whoever finds no wall finds the next one.
  for (uint32_t i = capacity; i-- > tally.capacity;) slots[i].store(nullptr, std::memory_order_release);
  tally.capacity = static_cast<uint16_t>(capacity);
  Access::reopen(cpu, id, limits_of(id, tally.begin + capacity));
}

}  // namespace

template <typename Access>
void grow_magazine(uint32_t cpu, ClassId id) {
  const SizeClass& c = size_class(id);
  CpuBlock& block = Access::block(cpu);
  if (block.tallies[id].capacity >= c.magazine_max || inside_lock() || !layout_lock.try_lock()) return;
  const uint32_t now = block.tallies[id].capacity;
  const uint32_t capacity = next_capacity(now, c);
  const uint32_t more_bytes = (capacity - now) * c.size;
  const uint64_t after = block.capacity_bytes.load(std::memory_order_relaxed) + more_bytes;
  // Every class may have a first, small magazine; growth beyond it is what the budget is for.
  const uint64_t budget = magazine_budget_bytes.load(std::memory_order_relaxed);
  const bool fits =
      now == 0 || after <= budget || take_from_idle<Access>(cpu, id, static_cast<uint32_t>(after - budget));
  if (capacity > now && fits) {
    const bool has_room = capacity <= block.tallies[id].room || extend(block, id, capacity);
    if (has_room) widen<Access>(cpu, id, capacity);
    if (has_room || relocate<Access>(cpu, id, capacity)) {
      block.capacity_bytes.fetch_add(more_bytes, std::memory_order_relaxed);
      layout_counters.grows.fetch_add(1, std::memory_order_relaxed);
    }
  }
  layout_lock.unlock();
}

namespace {

void drain_locked(uint32_t cpu) {
  CpuBlock& block = LockedAccess::block(cpu);
  for (unsigned c = 1; c < class_table->count; ++c) {
    const auto id = static_cast<ClassId>(c);
    MagazineTally& tally = block.tallies[id];
    void* objects[64];
    while (const uint32_t n = LockedAccess::pop_batch(cpu, id, objects, 64)) {
      tally.flushed.fetch_add(n, std::memory_order_relaxed);
      give_to_slabs(id, objects, n);
    }
  }
}

#if PM_HAS_RSEQ
// Objects of a magazine that the caller has closed, to the slabs.
void empty_closed(CpuBlock& block, ClassId id, uint32_t top) {
  MagazineTally& tally = block.tallies[id];
  auto* const array = reinterpret_cast<void**>(slots_of(block) + tally.begin + 1);
  const uint32_t count = top - tally.begin;
  give_to_slabs(id, array, count);
  for (uint32_t i = 0; i < count; ++i) array[i] = nullptr;
  tally.flushed.fetch_add(count, std::memory_order_relaxed);
}

// Takes a block's magazines away from the CPU they belong to, while it runs.
//
//   1. limits = 0 for every class, then the fence: no push is under way any more, and none can start.
//   2. old = exchange(word, top = 0) for every class. Pops that start now read slot 0: null.
//   3. the fence: every sequence that ran has committed or starts over.
//   4. One pop may have been under way in 2, past its look at the slot. Its commit adds 0xffff to the word:
//        after the exchange, to ours: top is 0xffff now, and the pop is not counted. It took the topmost object of
//        `old`; the rest is ours.
//        around the exchange (read before, written after): top is old's less one. Ours is lost: again from 2.
//      No commit: top is still 0, and all objects of `old` are ours.
//      (Slot 0xffff belongs to no magazine and is null, as slot 0 is, so meanwhile other pops find nothing.)
bool drain_rseq(uint32_t cpu, bool arm) {
  CpuBlock& block = RseqAccess::block(cpu);
  if (block.next_slot.load(std::memory_order_relaxed) == 0) return true;  // and stays so: the layout lock is held
  uint64_t limits[kMaxClasses];
  uint64_t taken[kMaxClasses];
  bool pending[kMaxClasses] = {};
  unsigned left = 0;
  for (unsigned c = 1; c < class_table->count; ++c) {
    if (block.tallies[c].begin == 0) continue;
    limits[c] = block.limits[c].word.exchange(0, std::memory_order_seq_cst);
    pending[c] = true;
    ++left;
  }
  if (left == 0) return true;
  const bool reached = os::fence_rseq();
  while (reached && left > 0) {
    for (unsigned c = 1; c < class_table->count; ++c) {
      if (!pending[c]) continue;
      uint64_t word = block.words[c].load(std::memory_order_relaxed);
      if (top_of(word) == block.tallies[c].begin) {  // empty, and no push can change that
        pending[c] = false;
        --left;
        continue;
      }
      while (!block.words[c].compare_exchange_weak(word, with_top(word, 0), std::memory_order_seq_cst)) {
      }
      taken[c] = word;
    }
    // It worked a moment ago. A magazine that could not be settled would have to stay closed.
    PM_CHECK(left == 0 || os::fence_rseq());
    for (unsigned c = 1; c < class_table->count; ++c) {
      if (!pending[c]) continue;
      const uint64_t word = block.words[c].load(std::memory_order_seq_cst);
      const bool popped = top_of(word) == kTopMask;
      if (top_of(word) != 0 && !popped) continue;
      pending[c] = false;
      --left;
      empty_closed(block, static_cast<ClassId>(c), top_of(taken[c]) - (popped ? 1 : 0));
      const uint64_t counted = word + (popped ? uint64_t{1} << kPopsShift : 0);
      if (counted < word) drop_samples();  // it would have carried
      block.words[c].store(with_top(counted, block.tallies[c].begin), std::memory_order_release);
    }
  }
  // All are closed and empty: the words are ours.
  const bool armable = reached && is_hot<RseqAccess>() && (arm || sampling_table() != nullptr);
  for (unsigned c = 1; c < class_table->count; ++c) {
    if (block.tallies[c].begin == 0) continue;
    if (PM_UNLIKELY(armable)) arm_closed(block, static_cast<ClassId>(c), arm);
    block.limits[c].word.store(limits[c], std::memory_order_release);
  }
  return reached;
}
#endif

}  // namespace

template <>
bool drain_cpu<LockedAccess>(uint32_t cpu, bool) {
  drain_locked(cpu);
  layout_counters.drains.fetch_add(1, std::memory_order_relaxed);
  return true;
}

template void grow_magazine<LockedAccess>(uint32_t cpu, ClassId id);

#if PM_HAS_RSEQ
template <>
bool drain_cpu<RseqAccess>(uint32_t cpu, bool arm) {
  const LockGuard guard(layout_lock);
  const bool done = drain_rseq(cpu, arm);
  if (done) layout_counters.drains.fetch_add(1, std::memory_order_relaxed);
  return done;
}

template void grow_magazine<RseqAccess>(uint32_t cpu, ClassId id);
#endif

}  // namespace pm
