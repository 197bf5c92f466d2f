// One CPU's magazines: the layout that the restartable sequences work on.
//
// A magazine is a LIFO array of pointers to free objects of one class. All magazines of a CPU lie in one block, at a
// fixed distance from the next CPU's, so that the CPU number gives the address. Slots are 8 bytes and are named by
// their index from the start of the block:
//
//   slot 0                  always zero
//   words[class]            low 16 bits `top`: index of the topmost object; high 48 bits: objects popped since the
//                           start, or armed: see arming.h
//   limits[class]           end: index of the last slot that a push may fill. divisor: the class's multiplier for the
//                           test of interior pointers (slab/size_class.h); 0 sends every free to the cold path,
//                           UINT32_MAX lets every offset pass
//   slots[begin]            always zero: the sentinel. top == begin means empty, and a pop reads a null pointer there
//   slots[begin+1..end]     the objects
//   slots[end+1]            an odd number: the wall. The hot push knows by it that there is no room, and reads no end;
//                           no slot from begin to end is odd
//   slot 0xffff             always zero; see drain_rseq in layout.cc
//
// A fresh block is all zero: top 0 names slot 0, so a pop finds nothing; divisor 0 and end 0 let no push in. A magazine
// whose limits are 0 is closed: not laid out yet, or being laid out anew or drained by the holder of the layout lock.
//
// Who writes what, for a block reached by rseq:
//   words     a thread on this CPU, in a restartable sequence, by the instruction that commits it; or the holder of the
//             layout lock while it is closed and top names slot 0 or the sentinel, when no sequence can commit
//   limits, begin, capacity, next_slot
//             the holder of the layout lock
//   slots     a push, above top, before it commits; the holder of the layout lock above the wall, and everywhere while
//             the magazine is closed and empty
//   tallies   a thread on this CPU outside of sequences; relaxed atomics
// A block of the locked mode: everything under the block's lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "slab/size_class.h"

namespace pm {

inline constexpr unsigned kBlockShift = 19;
inline constexpr size_t kBlockStride = size_t{1} << kBlockShift;
inline constexpr uint64_t kTopMask = 0xffff;
// What lies in the slot behind an array's last.
inline void* const kWall = reinterpret_cast<void*>(uintptr_t{1});
// All but the hot paths compare an object with this many topmost ones. The hot push compares with the topmost, and the
// hot pop with the one two below, so that an object freed twice with one other in between is not handed out twice.
inline constexpr unsigned kLookBack = 4;
inline constexpr unsigned kPopsShift = 16;

struct MagazineTally {
  std::atomic<uint64_t> refilled;   // objects moved in
  std::atomic<uint64_t> flushed;    // objects moved out
  std::atomic<uint32_t> misses;     // pops that found nothing
  std::atomic<uint32_t> overflows;  // pushes that found no room
  uint32_t use_seen;                // use_of() when the shrinker came by last; layout lock
  std::atomic<uint16_t> begin;      // layout lock to write, while the magazine is closed and empty; grows only
  std::atomic<uint16_t> capacity;   // objects it may hold now; layout lock to write
  uint16_t room;                    // objects its array has slots for; layout lock
  // When room pays, see magazine.cc. Hints.
  std::atomic<uint8_t> last_end;  // 0, or which of its ends the magazine met last
  std::atomic<uint8_t> credit;    // times it may still grow
};

// In one word, so that a magazine closes and opens by one store. Layout lock to write, as a thread of the CPU or, for
// whoever fences afterwards, from anywhere.
struct MagazineLimits {
  std::atomic<uint64_t> word;  // low 16 bits: end; high 32 bits: divisor; 0: closed

  static constexpr uint64_t pack(uint32_t end, uint32_t divisor) { return uint64_t{divisor} << 32 | end; }
  uint16_t end() const { return static_cast<uint16_t>(word.load(std::memory_order_relaxed)); }
};

// How the word's pop count is to be read; see arming.h.
struct MagazineArming {
  std::atomic<uint64_t> base;     // pops = base + the word's count, modulo 2^48
  std::atomic<uint64_t> next;     // while version is odd: what base becomes once the word is armed
  std::atomic<uint32_t> version;  // odd while base and word may not agree
  uint32_t unused;
};

struct CpuBlock {
  uint64_t zero;
  uint64_t padding[7];
  std::atomic<uint64_t> words[kMaxClasses];
  MagazineLimits limits[kMaxClasses];
  std::atomic<uint32_t> next_slot;       // first slot of the block not given to any magazine; layout lock to write
  std::atomic<uint32_t> capacity_bytes;  // of all magazines: capacity times size; layout lock to write
  uint32_t shrink_hand;                  // class the shrinker looks at next; layout lock
  std::atomic<uint32_t> marked;          // some magazine waits to be armed; see arming.h
  uint32_t reserved[12];
  MagazineTally tallies[kMaxClasses];
};

inline constexpr uint32_t kFirstSlot = sizeof(CpuBlock) / sizeof(void*);
inline constexpr uint32_t kSlotCount = kBlockStride / sizeof(void*);
static_assert(kSlotCount <= kTopMask + 1, "slots are named by 16 bits");
// The block's last page holds the arming of each class, and the last slot of all, the one that is always zero.
// Untouched unless the process is profiled.
inline constexpr uint32_t kArmingsOffset = kBlockStride - 4 * kKiB;
inline constexpr uint32_t kArraysEnd = kArmingsOffset / sizeof(void*);  // slots below it belong to magazines
static_assert(kMaxClasses * sizeof(MagazineArming) <= 4 * kKiB - sizeof(void*));
static_assert(sizeof(CpuBlock) % 64 == 0);

// Another number whenever a thread has used the magazine in between, as good as certainly: a push adds 1 to the word
// and a pop 0xffff, and sums of these that cancel out are not to be expected.
inline uint64_t use_of(const CpuBlock& block, ClassId id) {
  const MagazineTally& tally = block.tallies[id];
  return block.words[id].load(std::memory_order_relaxed) + tally.misses.load(std::memory_order_relaxed) +
         tally.overflows.load(std::memory_order_relaxed);
}

// Offsets that the assembly spells out.
inline constexpr size_t kWordsOffset = offsetof(CpuBlock, words);
inline constexpr size_t kLimitsOffset = offsetof(CpuBlock, limits);
static_assert(kWordsOffset == 64 && kLimitsOffset == 64 + 8 * kMaxClasses);

// Where the index of the sentinel of a class's magazine stands.
inline uint64_t begin_offset(ClassId id) {
  return offsetof(CpuBlock, tallies) + id * sizeof(MagazineTally) + offsetof(MagazineTally, begin);
}

// What became of a pop. sampled: the object is there, and its allocation is to be sampled (arming.h). empty may also
// mean that the topmost object lies in the magazine twice: the slow path looks.
enum class Pop : uint8_t { done, empty, sampled };
struct Popped {
  void* object;
  CpuBlock* block;  // of a sampled one: where it came from
};

// What became of a push. suspect: p seems to lie in the magazine already, or to be no object's start. full may mean the
// same: the slow path looks.
enum class Push : uint8_t { done, full, suspect };

inline MagazineArming& arming_of(CpuBlock& block, unsigned id) {
  return reinterpret_cast<MagazineArming*>(reinterpret_cast<char*>(&block) + kArmingsOffset)[id];
}
inline const MagazineArming& arming_of(const CpuBlock& block, unsigned id) {
  return arming_of(const_cast<CpuBlock&>(block), id);
}

inline std::atomic<void*>* slots_of(CpuBlock& block) { return reinterpret_cast<std::atomic<void*>*>(&block); }

}  // namespace pm
