// Free extents and slab blocks (src/page/extents.h, slab_blocks.h) against a plain reference: ordered maps of
// intervals, and for each fit policy its definition, looked for from one end to the other. Two shards share one region,
// as in the page layer, so that neighbours of different owners exist.
//
// Nothing is mapped in the region's window: a bookkeeper that touched the memory it keeps books on would crash.
#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "os/memory.h"
#include "page/extents.h"
#include "page/region.h"
#include "page/slab_blocks.h"
#include "tests/model/model.h"

namespace {

using model::Random;
using pm::ExtentState;
using pm::Fit;
using pm::GranuleIndex;
using pm::kBlockGranules;
using pm::kNoGranule;
using pm::region;

constexpr uint32_t kMostGranules = 6000;
constexpr unsigned kShards = 2;

// The reservation of the window, which has a place of its own, is granted without effect; the tables are real.
const pm::os::MemoryFunctions* kernel = nullptr;

void* reserve(uintptr_t hint, size_t bytes) {
  return hint != 0 ? reinterpret_cast<void*>(hint) : kernel->reserve(hint, bytes);
}
void release(uintptr_t, size_t) {}
bool commit(uintptr_t start, size_t bytes) {
  const bool in_window = start - pm::region_view.base < size_t{region.window_granules()} << pm::kGranuleShift;
  return in_window || kernel->commit(start, bytes);
}
size_t decommit(const pm::os::PageRange*, size_t) { return 0; }
pm::os::MemoryFunctions unmapped;

Fit policy = Fit::best;

// By granule, counted from the region's first.
std::vector<bool> resident;

uint32_t count_resident(GranuleIndex first, uint32_t granules) {
  const auto begin = resident.begin() + (first - region.first_granule());
  return static_cast<uint32_t>(std::count(begin, begin + granules, true));
}

void set_resident(GranuleIndex first, uint32_t granules, bool value) {
  const auto begin = resident.begin() + (first - region.first_granule());
  std::fill(begin, begin + granules, value);
}

// What the program, or a decommit, did to a run: the library is told, and the reference.
void touch(GranuleIndex first, uint32_t granules) {
  pm::mark_dirty(first, granules);
  set_resident(first, granules, true);
}
void clean(GranuleIndex first, uint32_t granules) {
  pm::mark_clean(first, granules);
  set_resident(first, granules, false);
}

// One shard as it should be.
struct Reference {
  struct Extent {
    uint32_t granules;
    uint32_t dirty;
  };
  using Order = std::set<std::pair<uint32_t, GranuleIndex>>;  // as the policy ranks them, then by address

  static uint32_t rank(uint32_t granules) {
    switch (policy) {
      case Fit::best: return granules;
      case Fit::first: return 0;
      case Fit::worst: return kMostGranules * 2 - granules;
      case Fit::address: break;
    }
    // Four classes to a doubling: the two bits below the highest.
    uint32_t rounded = granules;
    for (uint32_t bit = 1; rounded >= 8 * bit; bit *= 2) rounded &= ~bit;
    return rounded;
  }

  std::map<GranuleIndex, Extent> free;
  Order dirty_ones;
  Order clean_ones;
  uint64_t free_granules = 0;
  uint64_t dirty_granules = 0;
  std::map<GranuleIndex, uint32_t> blocks;  // a huge block that holds slabs: its used granules, a bit each

  void insert(GranuleIndex first, uint32_t granules) {
    const uint32_t dirty = count_resident(first, granules);
    free[first] = {granules, dirty};
    (dirty != 0 ? dirty_ones : clean_ones).insert({rank(granules), first});
    free_granules += granules;
    dirty_granules += dirty;
  }

  Extent erase(GranuleIndex first) {
    const Extent extent = free.at(first);
    (extent.dirty != 0 ? dirty_ones : clean_ones).erase({rank(extent.granules), first});
    free_granules -= extent.granules;
    dirty_granules -= extent.dirty;
    free.erase(first);
    return extent;
  }

  void release(GranuleIndex first, uint32_t granules) {
    const auto behind = free.find(first + granules);
    if (behind != free.end()) granules += erase(behind->first).granules;
    auto before = free.lower_bound(first);
    if (before != free.begin() && (--before)->first + before->second.granules == first) {
      const GranuleIndex start = before->first;
      granules += erase(start).granules;
      first = start;
    }
    insert(first, granules);
  }

  // The free extent that covers the run; end() if there is none.
  std::map<GranuleIndex, Extent>::const_iterator covering(GranuleIndex first, uint32_t granules) const {
    auto at = free.upper_bound(first);
    if (at == free.begin()) return free.end();
    --at;
    return at->first + at->second.granules >= first + granules ? at : free.end();
  }

  void take(GranuleIndex first, uint32_t granules) {
    const GranuleIndex start = covering(first, granules)->first;
    const uint32_t total = erase(start).granules;
    if (first != start) insert(start, first - start);
    const uint32_t rest = start + total - (first + granules);
    if (rest != 0) insert(first + granules, rest);
  }

  // The first in the policy's order that has at least `granules`, a dirty one rather than a clean one.
  GranuleIndex fit(uint32_t granules) const {
    for (const Order* order : {&dirty_ones, &clean_ones}) {
      for (const auto& [ignored, first] : *order) {
        if (free.at(first).granules >= granules) return first;
      }
    }
    return kNoGranule;
  }

  bool has_natural_run(uint32_t granules) const {
    return std::any_of(free.begin(), free.end(), [&](const auto& one) {
      return pm::align_up(one.first, granules) + granules <= one.first + one.second.granules;
    });
  }

  uint32_t largest(const Order& order) const {
    uint32_t most = 0;
    for (const auto& [ignored, first] : order) most = std::max(most, free.at(first).granules);
    return most;
  }
  uint32_t largest() const { return std::max(largest(dirty_ones), largest(clean_ones)); }
};

struct Run {
  GranuleIndex first;
  uint32_t granules;
};

class Shard {
 public:
  explicit Shard(uint8_t number) : number_(number), extents_(number) {}

  void grow(Random& random) {
    const auto wanted = static_cast<uint32_t>(1 + random.below(3 * kBlockGranules));
    const pm::Region::Chunk chunk = region.grow(wanted, number_);
    HOLDS(chunk.granules >= wanted);
    resident.resize(chunk.first + chunk.granules - region.first_granule());
    extents_.release(chunk.first, chunk.granules);
    reference_.release(chunk.first, chunk.granules);
  }

  bool allocate(uint32_t granules, uint32_t alignment) {
    const GranuleIndex first = extents_.allocate(granules, alignment);
    const GranuleIndex fit = reference_.fit(granules);
    if (first == kNoGranule) {
      // Only alignment may make it miss an extent, and never one so long that alignment cannot fail, nor a natural run.
      HOLDS(reference_.fit(granules + alignment - 1) == kNoGranule);
      HOLDS(granules > alignment || !reference_.has_natural_run(alignment));
      return false;
    }
    HOLDS(first % alignment == 0);
    const auto extent = reference_.covering(first, granules);
    HOLDS(extent != reference_.free.end());
    if (alignment == 1) {
      HOLDS(extent->first == fit);
      HOLDS(first == fit || first + granules == fit + extent->second.granules);
    }
    HOLDS(region.extent(first).dirty == count_resident(first, granules));
    reference_.take(first, granules);
    own(first, granules);
    return true;
  }

  void release(Random& random) {
    if (runs_.empty()) return;
    const Run run = pick(runs_, random);
    use(run, random);
    extents_.release(run.first, run.granules);
    reference_.release(run.first, run.granules);
  }

  void resize(Random& random, uint32_t wanted) {
    if (runs_.empty()) return;
    Run& run = runs_[random.below(runs_.size())];
    if (wanted < run.granules) {
      const Run tail = {run.first + wanted, run.granules - wanted};
      run.granules = wanted;
      region.extent(run.first).granules = wanted;
      use(tail, random);
      extents_.release(tail.first, tail.granules);
      reference_.release(tail.first, tail.granules);
    } else if (wanted > run.granules) {
      const GranuleIndex behind = run.first + run.granules;
      const uint32_t missing = wanted - run.granules;
      const auto room = reference_.free.find(behind);
      const bool possible = room != reference_.free.end() && room->second.granules >= missing;
      HOLDS(extents_.extend(run.first, run.granules, wanted) == possible);
      if (!possible) return;
      reference_.take(behind, missing);
      run.granules = wanted;
      HOLDS(region.extent(run.first).granules == wanted);
    }
  }

  // What the page layer does for a decommit; the system may refuse it.
  void decommit_extent(Random& random) {
    const uint64_t goal = 1 + random.of_bits(8);
    const GranuleIndex first = extents_.take_dirty(goal);
    HOLDS((first == kNoGranule) == reference_.dirty_ones.empty());
    if (first == kNoGranule) return;
    HOLDS(region.extent(first).state == ExtentState::busy);
    const uint32_t granules = region.extent(first).granules;
    const auto extent = reference_.covering(first, granules);
    HOLDS(extent != reference_.free.end() && extent->second.granules == reference_.largest(reference_.dirty_ones));
    HOLDS(first + granules == extent->first + extent->second.granules);
    HOLDS(first == extent->first || first % kBlockGranules == 0);
    const uint32_t dirty = count_resident(first, granules);
    HOLDS(region.extent(first).dirty == dirty && (dirty >= goal || first == extent->first));
    // Not a block more than needed, but for a rest that has nothing dirty.
    if (granules > kBlockGranules && dirty != extent->second.dirty) {
      HOLDS(count_resident(first + kBlockGranules, granules - kBlockGranules) < goal);
    }
    reference_.take(first, granules);
    if (!random.one_in(4)) clean(first, granules);
    extents_.put_back(first, granules);
    reference_.release(first, granules);
  }

  void allocate_slab_run(uint32_t granules) {
    bool reads_zero = false;
    GranuleIndex first = blocks_.allocate(granules, &reads_zero);
    if (first == kNoGranule) {
      HOLDS(granules > 1 || fullest_with_room() == 0);
      const GranuleIndex block = extents_.allocate(kBlockGranules, kBlockGranules);
      HOLDS((block == kNoGranule) == !reference_.has_natural_run(kBlockGranules));
      if (block == kNoGranule) return;
      reference_.take(block, kBlockGranules);
      reference_.blocks[block] = 0;
      blocks_.add(block);
      first = blocks_.allocate(granules, &reads_zero);
      HOLDS(block_of(first) == block);
    } else if (granules == 1) {
      HOLDS(1 + count(used_of(first)) == fullest_with_room());
    }
    HOLDS(first % granules == 0);
    HOLDS((used_of(first) & mask_of(first, granules)) == 0);
    HOLDS(reads_zero == (count_resident(first, granules) == 0));
    used_of(first) |= mask_of(first, granules);
    slab_runs_.push_back({first, granules});
  }

  void release_slab_run(Random& random) {
    if (slab_runs_.empty()) return;
    const Run run = pick(slab_runs_, random);
    use(run, random);
    return_to_block(run);
  }

  void decommit_in_block(bool refused) {
    uint32_t granules = 0;
    const GranuleIndex first = blocks_.take_dirty(&granules, false);
    HOLDS((first == kNoGranule) == (free_resident_in_blocks() == 0));
    if (first == kNoGranule) return;
    HOLDS((used_of(first) & mask_of(first, granules)) == 0);
    HOLDS(count_resident(first, granules) == granules);
    used_of(first) |= mask_of(first, granules);
    if (!refused) clean(first, granules);
    return_to_block({first, granules});
  }

  void check() const {
    HOLDS(extents_.free_granules() == reference_.free_granules);
    HOLDS(extents_.dirty_granules() == reference_.dirty_granules);
    HOLDS(extents_.largest_granules() == reference_.largest());
    HOLDS(blocks_.blocks() == reference_.blocks.size());
  }

  void audit() const {
    extents_.audit();
    blocks_.audit();
    for (const auto& [first, extent] : reference_.free) {
      const pm::ExtentRecord& r = region.extent(first);
      HOLDS(r.state == ExtentState::free && r.granules == extent.granules && r.dirty == extent.dirty);
      HOLDS(region.extent(first + r.granules - 1).head == first);
    }
    for (const Run& run : runs_) HOLDS(region.extent(run.first).state == ExtentState::large);
    uint64_t used = 0;
    for (const auto& [block, mask] : reference_.blocks) used += count(mask);
    HOLDS(blocks_.used_granules() == used);
    HOLDS(blocks_.free_granules() == reference_.blocks.size() * kBlockGranules - used);
    HOLDS(blocks_.dirty_granules() == free_resident_in_blocks());
  }

  void release_all(Random& random) {
    while (!runs_.empty()) release(random);
    while (!slab_runs_.empty()) release_slab_run(random);
    HOLDS(blocks_.blocks() == 0);
  }

 private:
  static Run pick(std::vector<Run>& runs, Random& random) {
    const size_t which = random.below(runs.size());
    const Run run = runs[which];
    runs[which] = runs.back();
    runs.pop_back();
    return run;
  }

  // The program wrote to all of the run, to some of it, or to nothing.
  static void use(const Run& run, Random& random) {
    const uint64_t how = random.below(8);
    if (how == 0) return;
    const auto length = how == 1 ? static_cast<uint32_t>(1 + random.below(run.granules)) : run.granules;
    const auto offset = static_cast<uint32_t>(random.below(run.granules - length + 1));
    touch(run.first + offset, length);
  }

  void own(GranuleIndex first, uint32_t granules) {
    region.extent(first).granules = granules;
    region.extent(first).state = ExtentState::large;
    runs_.push_back({first, granules});
  }

  void return_to_block(const Run& run) {
    const GranuleIndex block = block_of(run.first);
    used_of(run.first) &= ~mask_of(run.first, run.granules);
    const GranuleIndex emptied = blocks_.release(run.first, run.granules);
    HOLDS(emptied == (used_of(run.first) == 0 ? block : kNoGranule));
    if (emptied == kNoGranule) return;
    reference_.blocks.erase(block);
    extents_.release(block, kBlockGranules);
    reference_.release(block, kBlockGranules);
  }

  static GranuleIndex block_of(GranuleIndex g) { return g - g % kBlockGranules; }
  static uint32_t mask_of(GranuleIndex first, uint32_t granules) {
    HOLDS(first % kBlockGranules + granules <= kBlockGranules);
    return static_cast<uint32_t>(pm::low_bits(granules) << (first % kBlockGranules));
  }
  static uint32_t count(uint32_t mask) { return static_cast<uint32_t>(std::popcount(mask)); }
  uint32_t& used_of(GranuleIndex g) { return reference_.blocks.at(block_of(g)); }

  // Used granules, plus one, of the fullest block that has room; 0 if none has.
  uint32_t fullest_with_room() const {
    uint32_t most = 0;
    for (const auto& [block, mask] : reference_.blocks) {
      if (count(mask) < kBlockGranules) most = std::max(most, 1 + count(mask));
    }
    return most;
  }

  uint64_t free_resident_in_blocks() const {
    uint64_t found = 0;
    for (const auto& [block, mask] : reference_.blocks) {
      for (uint32_t bit = 0; bit < kBlockGranules; ++bit) {
        if ((mask >> bit & 1) == 0) found += count_resident(block + bit, 1);
      }
    }
    return found;
  }

  const uint8_t number_;
  pm::Extents extents_;
  pm::SlabBlocks blocks_;
  Reference reference_;
  std::vector<Run> runs_;
  std::vector<Run> slab_runs_;
};

void step(Shard& shard, Random& random, bool filling) {
  const uint64_t action = random.below(100);
  const auto granules = static_cast<uint32_t>(1 + random.of_bits(7));
  if (action < (filling ? 35U : 20U)) {
    const uint32_t alignment = random.one_in(4) ? 1U << random.below(7) : 1;
    const bool done = shard.allocate(granules, alignment);
    if (!done && region.committed_bytes() >> pm::kGranuleShift < kMostGranules) shard.grow(random);
  } else if (action < 50) {
    shard.release(random);
  } else if (action < 60) {
    shard.resize(random, granules);
  } else if (action < (filling ? 80U : 70U)) {
    shard.allocate_slab_run(1U << random.below(6));
  } else if (action < 92) {
    shard.release_slab_run(random);
  } else if (action < 96) {
    shard.decommit_extent(random);
  } else {
    shard.decommit_in_block(random.one_in(4));
  }
}

}  // namespace

int main(int argument_count, char** words) {
  // The policy's name comes before what all model tests take.
  constexpr std::pair<const char*, Fit> kPolicies[] = {
      {"best", Fit::best}, {"first", Fit::first}, {"worst", Fit::worst}, {"address", Fit::address}};
  HOLDS(argument_count > 1);
  const auto named = std::find_if(std::begin(kPolicies), std::end(kPolicies),
                                  [&](const auto& one) { return strcmp(one.first, words[1]) == 0; });
  HOLDS(named != std::end(kPolicies));
  policy = named->second;
  pm::set_fit(policy);
  const model::Arguments run = model::arguments(argument_count - 1, words + 1, 1000000);
  kernel = &pm::os::memory();
  unmapped = *kernel;
  unmapped.reserve = reserve;
  unmapped.release = release;
  unmapped.commit = commit;
  unmapped.decommit = decommit;
  pm::os::set_memory_functions(&unmapped);
  HOLDS(region.init(0));
  // Chunks no larger than asked for, so that the shards' chunks alternate.
  region.set_strict(true);
  // After each step every count is compared; all of the structure as often as there is time for: after each of the
  // first steps, on a debug build.
  constexpr uint64_t kEachStep = POOLMALLOC_DEBUG ? 50'000 : 0;
  constexpr uint64_t kStepsPerAudit = POOLMALLOC_DEBUG ? 50 : 500;
  Random random(run.seed);
  Shard shards[kShards] = {Shard(0), Shard(1)};
  for (Shard& shard : shards) shard.grow(random);
  for (uint64_t i = 0; i < run.steps; ++i) {
    Shard& shard = shards[random.below(kShards)];
    step(shard, random, i / 5000 % 2 == 0);
    shard.check();
    if (i < kEachStep || i % kStepsPerAudit == 0) shard.audit();
  }
  for (Shard& shard : shards) {
    shard.release_all(random);
    shard.check();
    shard.audit();
  }
}
