// Free extents in the order in which a fit policy looks at them.
//
// A treap (Seidel and Aragon, "Randomized search trees", 1996) over the ExtentRecords, ordered by rank, then address.
// What the rank is, is the policy; what is taken is always the first extent in order that is long enough:
//
//   best     its length: the smallest that fits, the lowest of these
//   first    nothing: the lowest that fits
//   worst    its length, negated: the largest, the lowest of these
//   address  its size class, four to a doubling: among the smallest class that has one that fits, the lowest. Extents
//            of nearly the same length count as equal, so that objects gather at low addresses
//
// Each node knows the longest extent below it and the largest natural run (2^k granules, aligned to that), so each
// search is one descent, O(log n), and a naturally aligned hole is found wherever it is. Priorities are hashes of the
// address, so they need no room.
//
// Not synchronised: the caller holds the shard's lock.
#pragma once

#include <cstdint>

#include "page/region.h"

namespace pm {

enum class Fit : uint8_t { best, first, worst, address };

// For all trees, while they are empty: at start.
void set_fit(Fit wanted);
// The policy in force, as the option says it.
const char* fit_name();

inline constexpr GranuleIndex kNoGranule = UINT32_MAX;

// What a free extent has to have: one of the two.
struct Need {
  uint32_t granules;
  unsigned order;  // a run of 2^order granules, aligned to that; 0 for none in particular
};

class ExtentTree {
 public:
  // The record's granules are set, and stay while it is in the tree.
  void insert(GranuleIndex extent);
  void erase(GranuleIndex extent);
  // The first in order that has what is needed, or kNoGranule.
  GranuleIndex first(Need need) const;
  // The first one behind `extent` that is long enough, or kNoGranule.
  GranuleIndex next(GranuleIndex extent, uint32_t granules) const;
  GranuleIndex largest() const { return empty() ? kNoGranule : first({largest_granules(), 0}); }
  uint32_t largest_granules() const { return empty() ? 0 : region.extent(root_ - 1).longest; }
  bool empty() const { return root_ == 0; }
  uint32_t count() const { return count_; }
  // Debug: order, priorities, what nodes know of those below, count.
  void audit() const;

 private:
  uint32_t root_ = 0;  // granule index plus one
  uint32_t count_ = 0;
};

// Whether the policy takes extent `a` rather than `b`, if both fit.
bool is_before(GranuleIndex a, GranuleIndex b);

// The largest k such that the run contains 2^k granules aligned to that; granules > 0.
unsigned natural_order(GranuleIndex first, uint32_t granules);

}  // namespace pm
