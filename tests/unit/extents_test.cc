#include "page/extents.h"

#include <initializer_list>

#include "tests/unit/layers.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

// Extents of a shard of their own, with one chunk of `granules` in them. Returns its first granule.
GranuleIndex start(Extents& extents, uint32_t granules, Fit fit = Fit::best) {
  test::start_pages();
  set_fit(fit);
  const Region::Chunk chunk = region.grow(granules, 0);
  EXPECT(chunk.granules >= granules);
  extents.release(chunk.first, chunk.granules);
  return chunk.first;
}

GranuleIndex take(Extents& extents, uint32_t granules, uint32_t alignment = 1) {
  return extents.allocate(granules, alignment);
}

TEST_CASE("split, and coalesce on both sides") {
  in_fresh_process([] {
    Extents extents(0);
    const GranuleIndex first = start(extents, 64);
    const uint64_t all = extents.free_granules();
    const GranuleIndex a = take(extents, 3);
    const GranuleIndex b = take(extents, 5);
    const GranuleIndex c = take(extents, 7);
    EXPECT(a == first && b == first + 3 && c == first + 8);
    EXPECT(extents.free_granules() == all - 15 && extents.largest_granules() == all - 15);
    extents.release(a, 3);
    extents.release(c, 7);
    EXPECT(extents.largest_granules() == all - 8);
    extents.release(b, 5);
    EXPECT(extents.largest_granules() == all && extents.free_granules() == all);
    EXPECT(extents.counters().hits == 3 && extents.counters().splits == 3 && extents.counters().coalesces == 3);
    extents.audit();
  });
}

TEST_CASE("the tightest fit at the lowest address") {
  in_fresh_process([] {
    Extents extents(0);
    start(extents, 64);
    GranuleIndex holes[4];
    const uint32_t sizes[4] = {4, 2, 3, 2};
    for (int i = 0; i < 4; ++i) {
      holes[i] = take(extents, sizes[i]);
      take(extents, 1);
    }
    for (int i = 3; i >= 0; --i) extents.release(holes[i], sizes[i]);
    EXPECT(take(extents, 2) == holes[1]);
    EXPECT(take(extents, 2) == holes[3]);
    EXPECT(take(extents, 2) == holes[2]);
    EXPECT(take(extents, 4) == holes[0]);
    extents.audit();
  });
}

TEST_CASE("alignment, also where only a naturally aligned hole is left") {
  in_fresh_process([] {
    Extents extents(0);
    start(extents, 64);
    take(extents, 1);
    for (uint32_t alignment = 1; alignment <= 32; alignment *= 2) {
      const GranuleIndex at = take(extents, 1, alignment);
      EXPECT(at != kNoGranule && at % alignment == 0);
    }
    extents.audit();
    while (take(extents, 1) != kNoGranule) {
    }
    const GranuleIndex block = (region.first_granule() + 31) / 32 * 32;
    extents.release(block, 8);
    EXPECT(take(extents, 8, 8) == block);
    extents.release(block + 1, 7);
    EXPECT(take(extents, 7, 8) == kNoGranule);
    EXPECT(take(extents, 7, 1) == block + 1);
  });
}

TEST_CASE("dirty granules come first, and are told from clean ones") {
  in_fresh_process([] {
    Extents extents(0);
    const GranuleIndex first = start(extents, 64);
    const GranuleIndex a = take(extents, 8);
    EXPECT(region.extent(a).dirty == 0 && a == first);
    const GranuleIndex fence = take(extents, 1);
    mark_dirty(a, 8);
    extents.release(a, 8);
    EXPECT(extents.dirty_granules() == 8);
    // A clean extent would fit more tightly, a dirty one costs no fault.
    const GranuleIndex b = take(extents, 2);
    EXPECT(b == a && region.extent(b).dirty == 2);
    EXPECT(extents.dirty_granules() == 6);
    const GranuleIndex taken = extents.take_dirty(1);
    EXPECT(taken == a + 2 && region.extent(taken).granules == 6 && extents.dirty_granules() == 0);
    mark_clean(taken, 6);
    extents.put_back(taken, 6);
    EXPECT(extents.dirty_granules() == 0 && extents.take_dirty(1) == kNoGranule);
    EXPECT(is_dirty(b) && !is_dirty(taken) && count_dirty(b, 8) == 2);
    extents.release(fence, 1);
    extents.audit();
  });
}

TEST_CASE("while a dirty extent is being decommitted, neighbours leave it alone") {
  in_fresh_process([] {
    Extents extents(0);
    start(extents, 64);
    const GranuleIndex left = take(extents, 4);
    const GranuleIndex middle = take(extents, 4);
    const GranuleIndex right = take(extents, 4);
    mark_dirty(middle, 4);
    extents.release(middle, 4);
    EXPECT(extents.take_dirty(4) == middle);
    extents.release(left, 4);
    EXPECT(!extents.extend(left, 4, 6));
    EXPECT(extents.counters().coalescable == 1 && extents.counters().coalesced == 0);
    // Only the clean memory behind it joins at once.
    extents.release(right, 4);
    EXPECT(extents.counters().coalescable == 2 && extents.counters().coalesced == 0);
    EXPECT(region.extent(left).granules == 4);
    mark_clean(middle, 4);
    extents.put_back(middle, 4);
    EXPECT(extents.counters().coalescable == 2);
    EXPECT(extents.largest_granules() == extents.free_granules());
    extents.audit();
  });
}

TEST_CASE("dirty bits over several huge blocks") {
  in_fresh_process([] {
    Extents extents(0);
    const GranuleIndex first = start(extents, 128);
    mark_dirty(first + 30, 70);
    EXPECT(count_dirty(first, 128) == 70 && !is_dirty(first + 29) && is_dirty(first + 99) && !is_dirty(first + 100));
    mark_clean(first + 31, 33);
    EXPECT(count_dirty(first, 128) == 37 && is_dirty(first + 30) && !is_dirty(first + 63) && is_dirty(first + 64));
  });
}

TEST_CASE("extension takes from behind, exactly") {
  in_fresh_process([] {
    Extents extents(0);
    start(extents, 64);
    const GranuleIndex a = take(extents, 4);
    const uint64_t left = extents.free_granules();
    EXPECT(extents.extend(a, 4, 10) && region.extent(a).granules == 10);
    EXPECT(extents.free_granules() == left - 6);
    EXPECT(!extents.extend(a, 10, static_cast<uint32_t>(11 + left)));
    EXPECT(extents.extend(a, 10, static_cast<uint32_t>(10 + left - 6)) && extents.free_granules() == 0);
    extents.audit();
  });
}

TEST_CASE("other shards' granules are no neighbours") {
  in_fresh_process([] {
    Extents mine(0);
    start(mine, 1);
    const Region::Chunk theirs = region.grow(1, 1);
    Extents other(1);
    other.release(theirs.first, theirs.granules);
    const Region::Chunk more = region.grow(1, 0);
    mine.release(more.first, more.granules);
    EXPECT(mine.counters().coalesces == 0 && other.counters().coalesces == 0);
    mine.audit();
    other.audit();
  });
}

TEST_CASE("a decommit takes whole huge blocks from the end, no more than it wants") {
  in_fresh_process([] {
    Extents extents(0);
    start(extents, 256);
    const GranuleIndex a = take(extents, 200);
    take(extents, 1);
    mark_dirty(a, 200);
    extents.release(a, 200);
    const GranuleIndex taken = extents.take_dirty(40);
    EXPECT(taken % kBlockGranules == 0);
    const uint32_t length = region.extent(taken).granules;
    EXPECT(length >= 40 && length < 40 + kBlockGranules && taken + length == a + 200);
    EXPECT(extents.dirty_granules() == 200 - length && region.extent(taken).dirty == length);
    extents.audit();
    mark_clean(taken, length);
    extents.put_back(taken, length);
    EXPECT(region.extent(a).granules == 200 && region.extent(a).dirty == 200 - length);
    // Whose rest holds nothing dirty goes as one.
    EXPECT(extents.take_dirty(200 - length) == a && region.extent(a).granules == 200);
    extents.put_back(a, 200);
    extents.audit();
  });
}

TEST_CASE("each policy takes what it says") {
  const auto taken_with = [](Fit fit, std::initializer_list<uint32_t> expected) {
    in_fresh_process([&] {
      Extents extents(0);
      start(extents, 256, fit);
      // Holes at rising addresses; 40 and 41 are of one size class.
      const uint32_t sizes[] = {41, 9, 60, 40, 8};
      GranuleIndex holes[5];
      for (int i = 0; i < 5; ++i) {
        holes[i] = take(extents, sizes[i]);
        EXPECT(take(extents, 1) != kNoGranule);
      }
      while (take(extents, 1) != kNoGranule) {
      }
      for (int i = 0; i < 5; ++i) extents.release(holes[i], sizes[i]);
      for (const uint32_t hole : expected) {
        EXPECT(take(extents, 8) == holes[hole]);
        extents.audit();
      }
    });
  };
  taken_with(Fit::best, {4, 1});
  taken_with(Fit::first, {0});
  taken_with(Fit::worst, {2});
  taken_with(Fit::address, {1, 4, 0});
}

TEST_CASE("what was freed last is found by the policy, not before it") {
  in_fresh_process([] {
    Extents extents(0);
    start(extents, 128);
    const GranuleIndex small = take(extents, 4);
    take(extents, 1);
    const GranuleIndex large = take(extents, 10);
    take(extents, 1);
    extents.release(small, 4);
    extents.release(large, 10);
    EXPECT(take(extents, 3) == small);
    extents.release(small, 3);
    EXPECT(take(extents, 5) == large);
    extents.audit();
  });
}

TEST_CASE("a natural run is found among any number of extents that are long enough but lie badly") {
  in_fresh_process([] {
    Extents extents(0);
    start(extents, 64 * kBlockGranules);
    GranuleIndex first = kNoGranule;
    while (const GranuleIndex at = take(extents, 1)) {
      if (at == kNoGranule) break;
      if (first == kNoGranule) first = at;
    }
    // 40 holes of 40 granules, none with a whole huge block, and at the highest address a block.
    const auto block = static_cast<GranuleIndex>(align_up(first, kBlockGranules));
    for (uint32_t i = 0; i < 20; ++i) extents.release(block + i * 3 * kBlockGranules + 12, 40);
    const GranuleIndex natural = block + 61 * kBlockGranules;
    extents.release(natural, 51);
    EXPECT(take(extents, kBlockGranules, kBlockGranules) == natural);
    // Aligned, but not a natural run: the ones beside the natural hole hold it as well.
    EXPECT(take(extents, 20, kBlockGranules) != kNoGranule);
    EXPECT(take(extents, 33, kBlockGranules) == kNoGranule);
    extents.audit();
  });
}

}  // namespace
