#include "page/extents.h"

#include <random>
#include <set>

#include "tests/unit/layers.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

// Extents of a shard of their own, with one chunk of `granules` in them. Returns its first granule.
GranuleIndex start(Extents& extents, uint32_t granules) {
  test::start_pages();
  const Region::Chunk chunk = region.grow(granules, 0);
  EXPECT(chunk.granules >= granules);
  extents.release(chunk.first, chunk.granules);
  return chunk.first;
}

GranuleIndex take(Extents& extents, uint32_t granules, uint32_t alignment = 1) {
  bool clean = false;
  return extents.allocate(granules, alignment, &clean);
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
    bool clean = false;
    const GranuleIndex a = extents.allocate(8, 1, &clean);
    EXPECT(clean && a == first);
    const GranuleIndex fence = take(extents, 1);
    mark_dirty(a, 8);
    extents.release(a, 8);
    EXPECT(extents.dirty_granules() == 8);
    // A clean extent would fit more tightly, a dirty one costs no fault.
    const GranuleIndex b = extents.allocate(2, 1, &clean);
    EXPECT(b == a && !clean);
    EXPECT(extents.dirty_granules() == 6);
    const GranuleIndex taken = extents.take_dirty();
    EXPECT(taken == a + 2 && region.extent(taken).granules == 6 && extents.dirty_granules() == 0);
    mark_clean(taken, 6);
    extents.release(taken, 6);
    EXPECT(extents.dirty_granules() == 0 && extents.take_dirty() == kNoGranule);
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
    EXPECT(extents.take_dirty() == middle);
    extents.release(left, 4);
    EXPECT(!extents.extend(left, 4, 6));
    extents.release(right, 4);
    EXPECT(region.extent(left).granules == 4);
    mark_clean(middle, 4);
    extents.release(middle, 4);
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

TEST_CASE("the tree holds thousands in order") {
  in_fresh_process([] {
    test::start_pages();
    constexpr uint32_t kCount = 4096;
    const GranuleIndex first = region.grow(2 * kCount, 0).first;
    ExtentTree tree;
    std::mt19937 random(1);
    std::set<std::pair<uint32_t, GranuleIndex>> expected;
    for (uint32_t i = 0; i < kCount; ++i) {
      const GranuleIndex at = first + 2 * i;
      region.extent(at).granules = 1 + static_cast<uint32_t>(random() % 100);
      region.extent(at).state = ExtentState::free;
      tree.insert(at);
      expected.insert({region.extent(at).granules, at});
    }
    tree.audit();
    while (!expected.empty()) {
      const uint32_t wanted = 1 + static_cast<uint32_t>(random() % 110);
      const auto fit = expected.lower_bound({wanted, 0});
      EXPECT(tree.best_fit(wanted) == (fit == expected.end() ? kNoGranule : fit->second));
      EXPECT(tree.largest() == expected.rbegin()->second);
      const auto victim = fit == expected.end() ? expected.begin() : fit;
      const auto behind = std::next(victim);
      EXPECT(tree.next(victim->second) == (behind == expected.end() ? kNoGranule : behind->second));
      tree.erase(victim->second);
      expected.erase(victim);
      EXPECT(tree.count() == expected.size());
      if (tree.count() % 512 == 0) tree.audit();
    }
    EXPECT(tree.empty() && tree.best_fit(1) == kNoGranule && tree.largest() == kNoGranule);
  });
}

}  // namespace
