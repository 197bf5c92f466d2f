#include "page/slab_blocks.h"

#include "page/huge_blocks.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

// Two huge blocks, empty.
GranuleIndex start(SlabBlocks& blocks) {
  test::start_pages();
  const Region::Chunk chunk = region.grow(2 * kBlockGranules, 0);
  blocks.add(chunk.first);
  blocks.add(chunk.first + kBlockGranules);
  return chunk.first;
}

GranuleIndex take(SlabBlocks& blocks, uint32_t granules) {
  bool clean = false;
  return blocks.allocate(granules, &clean);
}

TEST_CASE("runs are aligned to their length and never overlap") {
  in_fresh_process([] {
    SlabBlocks blocks;
    const GranuleIndex first = start(blocks);
    uint64_t taken = 0;
    for (uint32_t granules : {1U, 2U, 4U, 8U, 1U, 16U, 16U, 4U, 2U, 8U, 1U, 1U}) {
      const GranuleIndex at = take(blocks, granules);
      EXPECT(at != kNoGranule && at % granules == 0);
      const uint64_t mask = low_bits(granules) << (at - first);
      EXPECT((taken & mask) == 0);
      taken |= mask;
      blocks.audit();
    }
    EXPECT(taken == UINT64_MAX && blocks.free_granules() == 0 && blocks.used_granules() == 64);
    EXPECT(take(blocks, 1) == kNoGranule);
  });
}

TEST_CASE("the fullest block that has room serves") {
  in_fresh_process([] {
    SlabBlocks blocks;
    start(blocks);
    const GranuleIndex a = take(blocks, 16);
    const GranuleIndex b = take(blocks, 16);
    const GranuleIndex other = take(blocks, 1);
    EXPECT(a / kBlockGranules == b / kBlockGranules && other / kBlockGranules != a / kBlockGranules);
    EXPECT(blocks.release(a, 16) == kNoGranule);
    // 16 used there, 1 used here.
    EXPECT(take(blocks, 1) / kBlockGranules == b / kBlockGranules);
    EXPECT(take(blocks, 16) / kBlockGranules == other / kBlockGranules);
    blocks.audit();
  });
}

TEST_CASE("a block without slabs leaves") {
  in_fresh_process([] {
    SlabBlocks blocks;
    const GranuleIndex first = start(blocks);
    const GranuleIndex a = take(blocks, 1);
    const GranuleIndex b = take(blocks, 4);
    EXPECT(blocks.release(a, 1) == kNoGranule);
    const GranuleIndex block = blocks.release(b, 4);
    EXPECT(block == b / kBlockGranules * kBlockGranules && blocks.blocks() == 1 && blocks.used_granules() == 0);
    EXPECT(blocks.free_granules() == kBlockGranules && block >= first);
    blocks.audit();
  });
}

TEST_CASE("resident granules serve first, and are counted") {
  in_fresh_process([] {
    SlabBlocks blocks;
    start(blocks);
    const GranuleIndex keep = take(blocks, 1);
    const GranuleIndex used = take(blocks, 4);
    mark_dirty(used, 4);
    EXPECT(blocks.dirty_granules() == 0);
    blocks.release(used, 4);
    EXPECT(blocks.dirty_granules() == 4);
    bool clean = true;
    EXPECT(blocks.allocate(2, &clean) == used && !clean && blocks.dirty_granules() == 2);
    blocks.audit();
    uint32_t granules = 0;
    const GranuleIndex dirty = blocks.take_dirty(&granules, false);
    EXPECT(dirty == used + 2 && granules == 2 && blocks.dirty_granules() == 0);
    EXPECT(blocks.take_dirty(&granules, false) == kNoGranule);
    mark_clean(dirty, 2);
    blocks.release(dirty, 2);
    EXPECT(blocks.dirty_granules() == 0);
    EXPECT(blocks.allocate(1, &clean) != keep && clean);
    blocks.audit();
  });
}

// All of two blocks is in use but for the dirty granules `free` of the first.
uint32_t fill_but(SlabBlocks& blocks, std::initializer_list<uint32_t> free) {
  start(blocks);
  GranuleIndex first = kNoGranule;
  for (uint32_t i = 0; i < 2 * kBlockGranules; ++i) {
    const GranuleIndex run = take(blocks, 1);
    first = run < first ? run : first;
  }
  for (const uint32_t granule : free) {
    mark_dirty(first + granule, 1);
    blocks.release(first + granule, 1);
  }
  return first / kBlockGranules;
}

TEST_CASE("a dense block on a huge page is broken on demand only") {
  in_fresh_process([] {
    SlabBlocks blocks;
    const uint32_t block = fill_but(blocks, {7});
    uint32_t granules = 0;
    add_huge_bits(block, kIsHuge);
    EXPECT(blocks.take_dirty(&granules, false) == kNoGranule && blocks.dirty_granules() == 1);
    EXPECT(blocks.take_dirty(&granules, true) == block * kBlockGranules + 7 && granules == 1);
  });
}

TEST_CASE("one that is not dense, or not huge, is broken") {
  in_fresh_process([] {
    SlabBlocks blocks;
    const uint32_t block = fill_but(blocks, {7, 9});
    uint32_t granules = 0;
    add_huge_bits(block, kIsHuge);
    EXPECT(blocks.take_dirty(&granules, false) == block * kBlockGranules + 7);
    drop_huge_bits(block, kIsHuge);
    EXPECT(blocks.take_dirty(&granules, false) == block * kBlockGranules + 9);
  });
}

TEST_CASE("a block on a page of hugetlbfs is never broken") {
  in_fresh_process([] {
    SlabBlocks blocks;
    const uint32_t block = fill_but(blocks, {7, 8, 9, 10});
    uint32_t granules = 0;
    add_huge_bits(block, kIsHugetlb);
    EXPECT(blocks.take_dirty(&granules, true) == kNoGranule && blocks.dirty_granules() == 4);
  });
}

TEST_CASE("what a collapse made resident is dirty") {
  in_fresh_process([] {
    SlabBlocks blocks;
    start(blocks);
    const GranuleIndex run = take(blocks, 16);
    EXPECT(blocks.dirty_granules() == 0);
    blocks.note_resident(run / kBlockGranules);
    EXPECT(blocks.dirty_granules() == 16);
    blocks.note_resident(run / kBlockGranules);
    blocks.audit();
    EXPECT(blocks.dirty_granules() == 16);
  });
}

TEST_CASE("a run that is not taken cannot be released") {
  test::expect_abort(
      [] {
        SlabBlocks blocks;
        start(blocks);
        const GranuleIndex a = take(blocks, 2);
        take(blocks, 2);
        blocks.release(a, 2);
        blocks.release(a, 2);
      },
      "broken invariant");
}

}  // namespace
