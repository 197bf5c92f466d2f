// What is known of each huge block's pages: the bits of BlockRecord::huge, and the time in BlockRecord::settled.
//
// All relaxed: hints, but for the kind of hugetlbfs pages, which is written before the block is published and
// afterwards only by the thread that has the whole page out of the shard's trees.
#pragma once

#include <atomic>
#include <cstdint>

#include "page/region.h"

namespace pm {

enum HugeBit : uint8_t {
  kIsHuge = 1,       // lies on a huge page, by collapse or by a look
  kIsAdvised = 2,    // huge pages were asked for
  kIsBarred = 4,     // small pages were asked for, lest khugepaged bring back what was decommitted
  kIsHugetlb = 8,    // on a page of hugetlbfs of 2 MiB
  kIsGigantic = 16,  // on one of 1 GiB
  kIsStubborn = 32,  // a collapse was refused
};
inline constexpr uint8_t kIsHugetlbfs = kIsHugetlb | kIsGigantic;
inline constexpr uint32_t kGiganticBlocks = kGiB / kBlockBytes;

// A block of which at most so many granules are free is dense: a huge page for it wastes at most 3 %, so whatever the
// mix of blocks, the heap is at most that much larger than on small pages. Huge pages of dense blocks are not broken.
inline constexpr uint32_t kMostFreeInDense = 1;

inline uint8_t huge_bits(uint32_t block) { return region.block_at(block).huge.load(std::memory_order_relaxed); }
inline bool has_huge_bits(uint32_t block, uint8_t bits) { return (huge_bits(block) & bits) != 0; }
inline void add_huge_bits(uint32_t block, uint8_t bits) {
  region.block_at(block).huge.fetch_or(bits, std::memory_order_relaxed);
}
inline void drop_huge_bits(uint32_t block, uint8_t bits) {
  if (has_huge_bits(block, bits)) {
    region.block_at(block).huge.fetch_and(static_cast<uint8_t>(~bits), std::memory_order_relaxed);
  }
}

// Calls use(block) for each block that [first, first + granules) touches.
template <typename Use>
void each_touched_block(GranuleIndex first, uint32_t granules, Use use) {
  if (granules == 0) return;
  for (uint32_t b = first / kBlockGranules; b <= (first + granules - 1) / kBlockGranules; ++b) use(b);
}

// The pages of a run are gone, or others.
inline void forget_huge(GranuleIndex first, uint32_t granules) {
  each_touched_block(first, granules, [](uint32_t b) { drop_huge_bits(b, kIsHuge); });
}

}  // namespace pm
