#include "page/extent_tree.h"

#include "base/check.h"

namespace pm {
namespace {

Fit fit = Fit::best;

// Tree nodes are named by granule index plus one, so that zeroed records have no children.
ExtentRecord& record(uint32_t node) { return region.extent(node - 1); }

// Mixed with the place of the window, so that nobody outside can tell which addresses make a deep tree.
uint32_t priority(uint32_t node) { return mix32(node ^ static_cast<uint32_t>(region_view.base >> 30)); }

// The size class of a length, four to a doubling: exact up to 7 granules.
uint32_t class_of_length(uint32_t granules) {
  const unsigned exponent = log2_floor(granules);
  if (exponent < 3) return granules;
  return (exponent << 2) + (granules >> (exponent - 2) & 3) - 4;
}

uint32_t rank(uint32_t granules) {
  switch (fit) {
    case Fit::best: return granules;
    case Fit::first: return 0;
    case Fit::worst: return ~granules;
    case Fit::address: break;
  }
  return class_of_length(granules);
}

bool before(uint32_t a, uint32_t b) {
  const uint32_t rank_a = rank(record(a).granules);
  const uint32_t rank_b = rank(record(b).granules);
  return rank_a != rank_b ? rank_a < rank_b : a < b;
}

uint8_t own_order(uint32_t node) { return static_cast<uint8_t>(natural_order(node - 1, record(node).granules)); }

bool fits(uint32_t node, Need need) {
  return record(node).granules >= need.granules && (need.order == 0 || own_order(node) >= need.order);
}

// Whether some extent below fits.
bool one_below_fits(uint32_t node, Need need) {
  return node != 0 && record(node).longest >= need.granules && record(node).order >= need.order;
}

// Brings up to date what a node knows, from its children. False if that changed nothing.
bool refresh(uint32_t node) {
  ExtentRecord& r = record(node);
  uint32_t longest = r.granules;
  uint8_t order = own_order(node);
  for (const uint32_t child : {r.left, r.right}) {
    if (child == 0) continue;
    if (record(child).longest > longest) longest = record(child).longest;
    if (record(child).order > order) order = record(child).order;
  }
  if (longest == r.longest && order == r.order) return false;
  r.longest = longest;
  r.order = order;
  return true;
}

// Nodes on the way down, to be refreshed on the way up. A treap of all granules of the largest window is deeper than
// 100 less than once in a billion.
struct Path {
  static constexpr unsigned kMost = 160;
  uint32_t nodes[kMost];
  unsigned count = 0;

  void add(uint32_t node) {
    PM_CHECK(count < kMost);
    nodes[count++] = node;
  }
};

}  // namespace

void set_fit(Fit wanted) { fit = wanted; }

const char* fit_name() {
  static constexpr char kNames[][8] = {"best", "first", "worst", "address"};
  return kNames[static_cast<unsigned>(fit)];
}

bool is_before(GranuleIndex a, GranuleIndex b) { return before(a + 1, b + 1); }

unsigned natural_order(GranuleIndex first, uint32_t granules) {
  // Aligned runs half as long always fit once; of the two longer candidates, the first that does.
  for (unsigned order = log2_floor(granules);; --order) {
    const uint64_t length = uint64_t{1} << order;
    if (align_up(first, length) + length <= size_t{first} + granules) return order;
  }
}

// Descends to where the new node's priority puts it, and splits the subtree found there around it.
void ExtentTree::insert(GranuleIndex extent) {
  const uint32_t node = extent + 1;
  ExtentRecord& r = record(node);
  const uint8_t order = own_order(node);
  uint32_t* link = &root_;
  while (*link != 0 && priority(*link) >= priority(node)) {
    ExtentRecord& above = record(*link);
    if (above.longest < r.granules) above.longest = r.granules;
    if (above.order < order) above.order = order;
    link = before(node, *link) ? &above.left : &above.right;
  }
  uint32_t rest = *link;
  *link = node;
  uint32_t* lesser = &r.left;
  uint32_t* greater = &r.right;
  Path split;
  while (rest != 0) {
    split.add(rest);
    if (before(rest, node)) {
      *lesser = rest;
      lesser = &record(rest).right;
      rest = *lesser;
    } else {
      *greater = rest;
      greater = &record(rest).left;
      rest = *greater;
    }
  }
  *lesser = 0;
  *greater = 0;
  while (split.count > 0) refresh(split.nodes[--split.count]);
  r.longest = r.granules;
  r.order = order;
  refresh(node);
  ++count_;
}

// Replaces the node by the merge of its two subtrees.
void ExtentTree::erase(GranuleIndex extent) {
  const uint32_t node = extent + 1;
  uint32_t* link = &root_;
  Path path;
  while (*link != node) {
    PM_CHECK(*link != 0);
    path.add(*link);
    link = before(node, *link) ? &record(*link).left : &record(*link).right;
  }
  const unsigned above = path.count;
  uint32_t lesser = record(node).left;
  uint32_t greater = record(node).right;
  while (lesser != 0 && greater != 0) {
    if (priority(lesser) >= priority(greater)) {
      path.add(lesser);
      *link = lesser;
      link = &record(lesser).right;
      lesser = *link;
    } else {
      path.add(greater);
      *link = greater;
      link = &record(greater).left;
      greater = *link;
    }
  }
  *link = lesser != 0 ? lesser : greater;
  while (path.count > above) refresh(path.nodes[--path.count]);
  while (path.count > 0 && refresh(path.nodes[--path.count])) {
  }
  --count_;
}

GranuleIndex ExtentTree::first(Need need) const {
  uint32_t node = one_below_fits(root_, need) ? root_ : 0;
  while (node != 0) {
    if (one_below_fits(record(node).left, need)) {
      node = record(node).left;
    } else if (fits(node, need)) {
      return node - 1;
    } else {
      node = one_below_fits(record(node).right, need) ? record(node).right : 0;
    }
  }
  return kNoGranule;
}

GranuleIndex ExtentTree::next(GranuleIndex extent, uint32_t granules) const {
  const Need need = {granules, 0};
  uint32_t found = 0;
  uint32_t below = 0;  // if not 0, the first one in this subtree comes before `found`'s
  for (uint32_t node = root_; node != 0;) {
    if (!before(extent + 1, node)) {
      node = record(node).right;
      continue;
    }
    if (fits(node, need)) {
      found = node;
      below = 0;
    } else if (one_below_fits(record(node).right, need)) {
      below = record(node).right;
    }
    node = record(node).left;
  }
  if (below == 0) return found - 1;
  ExtentTree subtree;
  subtree.root_ = below;
  return subtree.first(need);
}

void ExtentTree::audit() const {
  uint32_t seen = 0;
  GranuleIndex previous = kNoGranule;
  for (GranuleIndex at = first({1, 0}); at != kNoGranule; at = next(at, 1)) {
    const ExtentRecord& r = region.extent(at);
    PM_CHECK(r.state.load(std::memory_order_relaxed) == ExtentState::free);
    PM_CHECK(previous == kNoGranule || is_before(previous, at));
    PM_CHECK(r.left == 0 || (before(r.left, at + 1) && priority(r.left) <= priority(at + 1)));
    PM_CHECK(r.right == 0 || (before(at + 1, r.right) && priority(r.right) <= priority(at + 1)));
    PM_CHECK(!refresh(at + 1));
    previous = at;
    ++seen;
  }
  PM_CHECK(seen == count_);
}

}  // namespace pm
