// Two ways to reach a CPU's magazines under one contract: restartable sequences on the CPU's own block, or a lock
// around a block that threads on that CPU share. The slow paths are written once over either.
//
//   block(cpu)                              the block, for its layout
//   push_batch(cpu, class, objects, n)      how many of the first n went in; may be 0
//   pop_batch(cpu, class, out, n)           how many came out, topmost first; may be 0
//   close(cpu, class)                       false if it could not be done here and now; afterwards no push is under way
//   open(cpu, class, word, limits)          publishes a closed magazine; the holder of the layout lock only
//   reopen(cpu, class, limits)              the same for one whose word stays what it is
//
// For rseq a call made on another CPU than `cpu` does nothing and returns 0 or false.
#pragma once

#include "base/lock.h"
#include "magazine/block.h"
#include "magazine/rseq_x86_64.h"

namespace pm {

#if PM_HAS_RSEQ
struct RseqAccess {
  PM_HOT static uint32_t cpu() { return os::rseq_cpu(); }
  static CpuBlock& block(uint32_t cpu) {
    return *reinterpret_cast<CpuBlock*>(magazine_blocks + (size_t{cpu} << kBlockShift));
  }
  PM_HOT static uint32_t push_batch(uint32_t cpu, ClassId id, void* const* objects, uint32_t n) {
    return n == 0 ? 0 : rseq_push_batch(cpu, id, objects, n);
  }
  PM_HOT static uint32_t pop_batch(uint32_t cpu, ClassId id, void** out, uint32_t n) {
    return n == 0 ? 0 : rseq_pop_batch(cpu, id, out, n);
  }
  PM_HOT static bool close(uint32_t cpu, ClassId id) { return rseq_set_limits(cpu, id, 0); }
  // Release: a push loads the limits before the word and the slots.
  static void open(uint32_t cpu, ClassId id, uint64_t word, uint64_t limits) {
    block(cpu).words[id].store(word, std::memory_order_release);
    reopen(cpu, id, limits);
  }
  static void reopen(uint32_t cpu, ClassId id, uint64_t limits) {
    block(cpu).limits[id].word.store(limits, std::memory_order_release);
  }
};
#endif

// The locked mode: up to kLockedBlocks blocks, chosen by CPU number. Words, limits and slots are atomics only so that
// the statistics may read them; the lock orders everything else.
inline constexpr uint32_t kLockedBlocks = 64;
struct alignas(kCacheLine) BlockLock {
  Lock lock{LockRank::magazine};
};
extern PM_SHARED BlockLock block_locks[kLockedBlocks];
extern PM_SHARED char* locked_blocks;
extern PM_SHARED uint32_t locked_block_count;
// Whether any of those has had a magazine; relaxed: read by who drains, after what it is to drain.
extern PM_SHARED std::atomic<bool> locked_blocks_used;

// Holds a block's lock. A signal handler inside any lock gets it only if it is free: it must not wait.
class BlockGuard {
 public:
  explicit BlockGuard(uint32_t cpu) : lock_(block_locks[cpu].lock), taken_(take()) {}
  ~BlockGuard() {
    if (taken_) lock_.unlock();
  }
  BlockGuard(const BlockGuard&) = delete;
  BlockGuard& operator=(const BlockGuard&) = delete;

  bool taken() const { return taken_; }

 private:
  bool take() {
    if (PM_UNLIKELY(inside_lock() && !layout_is_ours())) return lock_.try_lock();
    lock_.lock();
    return true;
  }
  // The holder of the layout lock, and of no other, may wait: see the ranks.
  static bool layout_is_ours() { return locks_held == uint32_t{1} << static_cast<unsigned>(LockRank::layout); }

  Lock& lock_;
  const bool taken_;
};

struct LockedAccess {
  static uint32_t cpu() { return os::current_cpu() % locked_block_count; }
  static CpuBlock& block(uint32_t cpu) {
    return *reinterpret_cast<CpuBlock*>(locked_blocks + (size_t{cpu} << kBlockShift));
  }

  static void* pop(uint32_t cpu, ClassId id) {
    const BlockGuard guard(cpu);
    if (PM_UNLIKELY(!guard.taken())) return nullptr;
    CpuBlock& b = block(cpu);
    const uint64_t word = b.words[id].load(std::memory_order_relaxed);
    void* const object = slots_of(b)[word & kTopMask].load(std::memory_order_relaxed);
    if (object != nullptr) b.words[id].store(word + (uint64_t{1} << kPopsShift) - 1, std::memory_order_relaxed);
    return object;
  }

  static Push push(uint32_t cpu, ClassId id, void* p) {
    const BlockGuard guard(cpu);
    if (PM_UNLIKELY(!guard.taken())) return Push::full;
    CpuBlock& b = block(cpu);
    const uint64_t word = b.words[id].load(std::memory_order_relaxed);
    const uint64_t top = word & kTopMask;
    if (top >= b.limits[id].end()) return Push::full;
    for (uint64_t i = 0; i < kLookBack && top - i > b.tallies[id].begin; ++i) {
      if (slots_of(b)[top - i].load(std::memory_order_relaxed) == p) return Push::suspect;
    }
    slots_of(b)[top + 1].store(p, std::memory_order_relaxed);
    b.words[id].store(word + 1, std::memory_order_relaxed);
    return Push::done;
  }

  static uint32_t push_batch(uint32_t cpu, ClassId id, void* const* objects, uint32_t n) {
    const BlockGuard guard(cpu);
    if (PM_UNLIKELY(!guard.taken())) return 0;
    CpuBlock& b = block(cpu);
    const uint64_t word = b.words[id].load(std::memory_order_relaxed);
    const uint64_t top = word & kTopMask;
    const uint64_t end = b.limits[id].end();
    if (top >= end) return 0;
    if (n > end - top) n = static_cast<uint32_t>(end - top);
    for (uint32_t i = 0; i < n; ++i) slots_of(b)[top + 1 + i].store(objects[i], std::memory_order_relaxed);
    b.words[id].store(word + n, std::memory_order_relaxed);
    return n;
  }

  static uint32_t pop_batch(uint32_t cpu, ClassId id, void** out, uint32_t n) {
    const BlockGuard guard(cpu);
    if (PM_UNLIKELY(!guard.taken())) return 0;
    CpuBlock& b = block(cpu);
    const uint64_t word = b.words[id].load(std::memory_order_relaxed);
    const uint64_t top = word & kTopMask;
    const uint64_t begin = b.tallies[id].begin.load(std::memory_order_relaxed);
    if (top <= begin) return 0;
    if (n > top - begin) n = static_cast<uint32_t>(top - begin);
    for (uint32_t i = 0; i < n; ++i) out[i] = slots_of(b)[top - i].load(std::memory_order_relaxed);
    b.words[id].store(word - n, std::memory_order_relaxed);
    return n;
  }

  static void open(uint32_t cpu, ClassId id, uint64_t word, uint64_t limits) {
    const BlockGuard guard(cpu);
    PM_CHECK(guard.taken());
    locked_blocks_used.store(true, std::memory_order_relaxed);
    block(cpu).words[id].store(word, std::memory_order_relaxed);
    block(cpu).limits[id].word.store(limits, std::memory_order_relaxed);
  }
  static void reopen(uint32_t cpu, ClassId id, uint64_t limits) {
    const BlockGuard guard(cpu);
    PM_CHECK(guard.taken());
    block(cpu).limits[id].word.store(limits, std::memory_order_relaxed);
  }

  static bool close(uint32_t cpu, ClassId id) {
    const BlockGuard guard(cpu);
    if (PM_UNLIKELY(!guard.taken())) return false;
    block(cpu).limits[id].word.store(0, std::memory_order_relaxed);
    return true;
  }
};

}  // namespace pm
