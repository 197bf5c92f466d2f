#include "page/extent_tree.h"

#include <random>
#include <set>

#include "tests/unit/layers.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

TEST_CASE("natural orders") {
  EXPECT(natural_order(0, 1) == 0 && natural_order(7, 1) == 0);
  EXPECT(natural_order(0, 32) == 5 && natural_order(1, 32) == 4 && natural_order(1, 62) == 4);
  EXPECT(natural_order(1, 63) == 5 && natural_order(32, 63) == 5 && natural_order(3, 2) == 0);
}

TEST_CASE("the tree holds thousands in order") {
  for (const Fit fit : {Fit::best, Fit::first, Fit::worst, Fit::address}) {
    in_fresh_process([&] {
      test::start_pages();
      set_fit(fit);
      constexpr uint32_t kCount = 4096;
      const GranuleIndex first = region.grow(2 * kCount, 0).first;
      ExtentTree tree;
      std::mt19937 random(1);
      std::set<GranuleIndex> expected;
      for (uint32_t i = 0; i < kCount; ++i) {
        const GranuleIndex at = first + 2 * i;
        region.extent(at).granules = 1 + static_cast<uint32_t>(random() % 100);
        region.extent(at).state = ExtentState::free;
        tree.insert(at);
        expected.insert(at);
      }
      tree.audit();
      const auto best_of = [&](uint32_t wanted) {
        GranuleIndex best = kNoGranule;
        for (const GranuleIndex at : expected) {
          if (region.extent(at).granules >= wanted && (best == kNoGranule || is_before(at, best))) best = at;
        }
        return best;
      };
      while (!expected.empty()) {
        const uint32_t wanted = 1 + static_cast<uint32_t>(random() % 110);
        const GranuleIndex fit_found = best_of(wanted);
        EXPECT(tree.first({wanted, 0}) == fit_found);
        GranuleIndex victim = *expected.begin();
        if (fit_found != kNoGranule) victim = fit_found;
        tree.erase(victim);
        expected.erase(victim);
        EXPECT(tree.count() == expected.size());
        if (tree.count() % 512 == 0) tree.audit();
      }
      EXPECT(tree.empty() && tree.first({1, 0}) == kNoGranule && tree.largest() == kNoGranule);
    });
  }
}

}  // namespace
