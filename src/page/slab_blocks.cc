#include "page/slab_blocks.h"

#include "base/check.h"
#include "page/huge_blocks.h"

namespace pm {
namespace {

// Bits at which an aligned run of `granules` set bits of `mask` starts.
uint32_t run_starts(uint32_t mask, uint32_t granules) {
  for (uint32_t length = 1; length < granules; length *= 2) mask &= mask >> length;
  uint32_t aligned = 0;
  for (uint32_t bit = 0; bit < kBlockGranules; bit += granules) aligned |= 1U << bit;
  return mask & aligned;
}

uint32_t run_mask(uint32_t bit, uint32_t granules) { return static_cast<uint32_t>(low_bits(granules) << bit); }
uint32_t count(uint32_t mask) { return count_bits(mask); }

}  // namespace

void SlabBlocks::link(uint32_t block) {
  BlockRecord& r = region.block_at(block);
  const uint32_t n = count(r.used);
  r.previous = 0;
  r.next = lists_[n];
  if (r.next != 0) region.block_at(r.next - 1).previous = block + 1;
  lists_[n] = block + 1;
  nonempty_ |= uint64_t{1} << n;
}

void SlabBlocks::unlink(uint32_t block) {
  BlockRecord& r = region.block_at(block);
  const uint32_t n = count(r.used);
  if (r.next != 0) region.block_at(r.next - 1).previous = r.previous;
  if (r.previous != 0) {
    region.block_at(r.previous - 1).next = r.next;
  } else {
    lists_[n] = r.next;
    if (r.next == 0) nonempty_ &= ~(uint64_t{1} << n);
  }
}

void SlabBlocks::take(uint32_t block, uint32_t mask) {
  BlockRecord& r = region.block_at(block);
  PM_ASSERT((r.used & mask) == 0);
  unlink(block);
  r.used |= mask;
  used_ += count(mask);
  dirty_ -= count(mask & r.dirty);
  link(block);
}

GranuleIndex SlabBlocks::allocate(uint32_t granules, bool* clean) {
  uint64_t candidates = nonempty_ & low_bits(kBlockGranules - granules + 1);
  while (candidates != 0) {
    const unsigned n = log2_floor(candidates);
    candidates &= ~(uint64_t{1} << n);
    // Longer runs may not fit although the granules would do: look at a few blocks of each list, not at all.
    unsigned tries = 0;
    for (uint32_t b = lists_[n]; b != 0 && tries < 8; b = region.block_at(b - 1).next, ++tries) {
      const BlockRecord& r = region.block_at(b - 1);
      const uint32_t resident = run_starts(~r.used & r.dirty, granules);
      const uint32_t starts = resident != 0 ? resident : run_starts(~r.used, granules);
      if (starts == 0) continue;
      const auto bit = static_cast<uint32_t>(std::countr_zero(starts));
      const uint32_t mask = run_mask(bit, granules);
      *clean = (r.dirty & mask) == 0;
      take(b - 1, mask);
      return (b - 1) * kBlockGranules + bit;
    }
  }
  return kNoGranule;
}

void SlabBlocks::add(GranuleIndex first) {
  const uint32_t block = first / kBlockGranules;
  BlockRecord& r = region.block_at(block);
  r.used = 0;
  ++blocks_;
  dirty_ += count(r.dirty);
  region.extent(first).state.store(ExtentState::slabs, std::memory_order_release);
  link(block);
}

GranuleIndex SlabBlocks::release(GranuleIndex first, uint32_t granules) {
  const uint32_t block = first / kBlockGranules;
  BlockRecord& r = region.block_at(block);
  const uint32_t mask = run_mask(first % kBlockGranules, granules);
  PM_CHECK((r.used & mask) == mask);
  unlink(block);
  r.used &= ~mask;
  used_ -= granules;
  dirty_ += count(mask & r.dirty);
  if (r.used != 0) {
    link(block);
    return kNoGranule;
  }
  --blocks_;
  dirty_ -= count(r.dirty);
  return block * kBlockGranules;
}

GranuleIndex SlabBlocks::take_dirty(uint32_t* granules, bool break_dense) {
  if (dirty_ == 0) return kNoGranule;
  for (unsigned n = 0; n < kBlockGranules; ++n) {
    const bool is_dense = kBlockGranules - n <= kMostFreeInDense;
    const uint8_t spared = is_dense && !break_dense ? kIsHugetlbfs | kIsHuge : kIsHugetlbfs;
    for (uint32_t b = lists_[n]; b != 0; b = region.block_at(b - 1).next) {
      if (has_huge_bits(b - 1, spared)) continue;
      const uint32_t free_dirty = ~region.block_at(b - 1).used & region.block_at(b - 1).dirty;
      if (free_dirty == 0) continue;
      const auto bit = static_cast<uint32_t>(std::countr_zero(free_dirty));
      *granules = static_cast<uint32_t>(std::countr_one(free_dirty >> bit));
      take(b - 1, run_mask(bit, *granules));
      return (b - 1) * kBlockGranules + bit;
    }
  }
  return kNoGranule;
}

void SlabBlocks::note_resident(uint32_t block) {
  const BlockRecord& r = region.block_at(block);
  const uint32_t added = ~r.used & ~r.dirty;
  if (added == 0) return;
  dirty_ += count(added);
  mark_dirty(block * kBlockGranules, kBlockGranules);
}

void SlabBlocks::audit() const {
  uint64_t blocks = 0;
  uint64_t used = 0;
  uint64_t dirty = 0;
  for (unsigned n = 0; n <= kBlockGranules; ++n) {
    PM_CHECK((lists_[n] != 0) == ((nonempty_ >> n & 1) != 0));
    for (uint32_t b = lists_[n]; b != 0; b = region.block_at(b - 1).next) {
      const BlockRecord& r = region.block_at(b - 1);
      PM_CHECK(count(r.used) == n);
      PM_CHECK(region.extent((b - 1) * kBlockGranules).state.load(std::memory_order_relaxed) == ExtentState::slabs);
      ++blocks;
      used += n;
      dirty += count(~r.used & r.dirty);
    }
  }
  PM_CHECK(blocks == blocks_ && used == used_ && dirty == dirty_);
}

}  // namespace pm
