#include "magazine/arming.h"

#include "magazine/access.h"
#include "magazine/sampling.h"
#include "os/process.h"

namespace pm {
namespace {

constexpr uint64_t kPopsMask = (uint64_t{1} << 48) - 1;

bool is_armed(uint64_t word) { return word >> 63 != 0; }
uint64_t with_pops(uint64_t word, uint64_t pops) { return (word & kTopMask) | (pops << kPopsShift); }

// Takes the version: odd. False if another thread has it.
bool begin_change(MagazineArming& arming, uint32_t& version) {
  version = arming.version.load(std::memory_order_relaxed);
  if ((version & 1U) != 0) return false;
  // Acquire pairs with the release in end_change.
  if (!arming.version.compare_exchange_strong(version, version + 1, std::memory_order_acquire)) return false;
  std::atomic_thread_fence(std::memory_order_release);
  return true;
}

// Not an increment: in a child that this thread's signal handler forked, the version is even already.
void end_change(MagazineArming& arming, uint32_t version) {
  arming.version.store(version + 2, std::memory_order_release);
}

// While the version is odd. The word tells whether it has been changed: it was not armed before.
uint64_t base_amid_change(const MagazineArming& arming, uint64_t word) {
  return (is_armed(word) ? arming.next : arming.base).load(std::memory_order_relaxed);
}

struct Change {
  uint64_t word;
  uint64_t base;
};

// What a word should become, by whether sampling is on.
Change changed(const SamplingTable* table, uint64_t word, uint64_t base, ClassId id) {
  const uint64_t pops = word >> kPopsShift;
  const uint64_t total = (base + pops) & kPopsMask;
  if (table == nullptr) return {with_pops(word, total), 0};
  const uint64_t count = kPopsMask + 1 - draw_distance(*table, id);
  return {with_pops(word, count), (total - count) & kPopsMask};
}

#if PM_HAS_RSEQ
// Pops since the word carried went by unsampled: those that would have been samples are counted.
void count_missed(const SamplingTable& table, uint64_t word, uint64_t base, ClassId id) {
  constexpr unsigned kMostDraws = 1000;
  if (base == 0) return;  // it was never armed
  uint64_t left = word >> kPopsShift;
  for (unsigned i = 0; i < kMostDraws; ++i) {
    const uint64_t distance = draw_distance(table, id);
    if (distance > left) return;
    left -= distance;
    drop_samples();
  }
}

enum class Armed : uint8_t { yes, again, elsewhere };

Armed try_to_arm(CpuBlock& block, uint32_t cpu, ClassId id) {
  const SamplingTable* const table = sampling_table();
  MagazineArming& arming = arming_of(block, id);
  const uint64_t word = block.words[id].load(std::memory_order_relaxed);
  const uint64_t base = arming.base.load(std::memory_order_relaxed);
  // What is not armed any more may stay so when sampling is off: base is right.
  if (is_armed(word) || table == nullptr) return Armed::yes;
  const Change change = changed(table, word, base, id);
  arming.next.store(change.base, std::memory_order_relaxed);
  if (!rseq_replace(cpu, id, word, change.word)) {
    const bool here = RseqAccess::cpu() == cpu && block.limits[id].end() != 0;
    return here ? Armed::again : Armed::elsewhere;
  }
  arming.base.store(change.base, std::memory_order_relaxed);
  count_missed(*table, word, base, id);
  return Armed::yes;
}
#endif

}  // namespace

uint64_t pops_of(const CpuBlock& block, ClassId id) {
  const MagazineArming& arming = arming_of(block, id);
  for (unsigned tries = 0;; ++tries) {
    const uint32_t before = arming.version.load(std::memory_order_acquire);
    const uint64_t base = arming.base.load(std::memory_order_relaxed);
    const uint64_t word = block.words[id].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    const bool agreed = (before & 1U) == 0 && arming.version.load(std::memory_order_relaxed) == before;
    if (agreed) return (base + (word >> kPopsShift)) & kPopsMask;
    if (tries == 2000) return (base_amid_change(arming, word) + (word >> kPopsShift)) & kPopsMask;
    if (tries > 100) os::yield_thread();
  }
}

void arm_closed(CpuBlock& block, ClassId id, bool anew) {
  const SamplingTable* const table = sampling_table();
  MagazineArming& arming = arming_of(block, id);
  // Whoever has it waits for nothing.
  uint32_t version;
  while (!begin_change(arming, version)) os::yield_thread();
  const uint64_t word = block.words[id].load(std::memory_order_relaxed);
  const uint64_t base = arming.base.load(std::memory_order_relaxed);
  const bool wanted = table != nullptr ? anew || !is_armed(word) : base != 0;
  if (wanted) {
    // Readers wait; the fork handler, who holds the layout lock, finds this done.
    const Change change = changed(table, word, base, id);
    block.words[id].store(change.word, std::memory_order_relaxed);
    arming.base.store(change.base, std::memory_order_relaxed);
  }
  end_change(arming, version);
}

void arm_again(CpuBlock& block, ClassId id) {
#if PM_HAS_RSEQ
  const auto cpu = static_cast<uint32_t>((reinterpret_cast<char*>(&block) - magazine_blocks) >> kBlockShift);
  MagazineArming& arming = arming_of(block, id);
  for (;;) {
    // Another thread arms it; it looks again when it is done.
    uint32_t version;
    if (!begin_change(arming, version)) return;
    const Armed armed = try_to_arm(block, cpu, id);
    end_change(arming, version);
    if (armed == Armed::elsewhere) return block.marked.store(1, std::memory_order_relaxed);
    // While the version was odd, another thread may have found it so and gone: its pop carried again.
    const bool carried = sampling_table() != nullptr && !is_armed(block.words[id].load(std::memory_order_relaxed));
    if (armed == Armed::yes && !carried) return;
  }
#else
  static_cast<void>(block);
  static_cast<void>(id);
#endif
}

void finish_arming_in_child(CpuBlock& block) {
  for (unsigned id = 1; id < class_table->count; ++id) {
    MagazineArming& arming = arming_of(block, id);
    const uint32_t version = arming.version.load(std::memory_order_relaxed);
    if ((version & 1U) == 0) continue;
    arming.base.store(base_amid_change(arming, block.words[id].load(std::memory_order_relaxed)),
                      std::memory_order_relaxed);
    arming.version.store(version + 1, std::memory_order_relaxed);
    block.marked.store(1, std::memory_order_relaxed);
  }
}

void arm_marked(CpuBlock& block) {
  block.marked.store(0, std::memory_order_relaxed);
  for (unsigned id = 1; id < class_table->count; ++id) {
    if (block.tallies[id].begin.load(std::memory_order_relaxed) != 0) arm_again(block, static_cast<ClassId>(id));
  }
}

}  // namespace pm
