#include "base/largest.h"

#include <algorithm>
#include <random>
#include <vector>

#include "tests/catch.h"

namespace {

using namespace pm;

TEST_CASE("the largest are kept, in their order, of equals the earlier") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::pair<uint64_t, int>> offered;  // weight, place
    Largest<int, 5> kept;
    const int count = static_cast<int>(random() % 12);
    for (int i = 0; i < count; ++i) {
      offered.emplace_back(random() % 8, i);
      kept.offer(i, offered.back().first);
    }
    std::stable_sort(offered.begin(), offered.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    REQUIRE(kept.count() == std::min<size_t>(offered.size(), 5));
    for (unsigned i = 0; i < kept.count(); ++i) CHECK(kept[i] == offered[i].second);
  }
}

}  // namespace
