// Bytes read as a list of calls on the free extents of one shard, checked against a plain array: one entry a granule.
// The first byte picks the fit policy. Nothing is mapped where the granules lie, so whoever touched them would crash.
#include <algorithm>
#include <vector>

#include "os/memory.h"
#include "page/extents.h"
#include "tests/model/model.h"

namespace {

using pm::Extents;
using pm::GranuleIndex;
using pm::kBlockGranules;
using pm::kNoGranule;
using pm::region;

constexpr uint32_t kGranules = 16 * kBlockGranules;

const pm::os::MemoryFunctions* kernel = nullptr;
GranuleIndex base = 0;

void* reserve(uintptr_t hint, size_t bytes) {
  return hint != 0 ? reinterpret_cast<void*>(hint) : kernel->reserve(hint, bytes);
}
bool commit(uintptr_t start, size_t bytes) {
  const bool in_window = start - pm::region_view.base < size_t{region.window_granules()} << pm::kGranuleShift;
  return in_window || kernel->commit(start, bytes);
}

class Shard {
 public:
  Shard() : extents_(0) {
    pm::mark_clean(base, kGranules);
    extents_.release(base, kGranules);
  }

  void allocate(uint32_t granules, uint32_t alignment) {
    const GranuleIndex first = extents_.allocate(granules, alignment);
    if (first == kNoGranule) {
      HOLDS(longest_free() < granules + alignment - 1);
      return;
    }
    HOLDS(first % alignment == 0 && first >= base && first + granules <= base + kGranules);
    HOLDS(region.extent(first).dirty == dirty_in(first, granules));
    for (uint32_t i = 0; i < granules; ++i) {
      HOLDS(!used_[first - base + i]);
      used_[first - base + i] = true;
    }
    region.extent(first).granules = granules;
    region.extent(first).state = pm::ExtentState::large;
    runs_.push_back(first);
  }

  void release(size_t which, bool written) {
    if (runs_.empty()) return;
    const GranuleIndex first = runs_[which % runs_.size()];
    runs_[which % runs_.size()] = runs_.back();
    runs_.pop_back();
    const uint32_t granules = region.extent(first).granules;
    if (written) {
      pm::mark_dirty(first, granules);
      std::fill_n(dirty_ + (first - base), granules, true);
    }
    std::fill_n(used_ + (first - base), granules, false);
    extents_.release(first, granules);
  }

  void extend(size_t which, uint32_t more) {
    if (runs_.empty() || more == 0) return;
    const GranuleIndex first = runs_[which % runs_.size()];
    const uint32_t granules = region.extent(first).granules;
    const uint32_t end = first - base + granules;
    uint32_t room = 0;
    while (end + room < kGranules && !used_[end + room]) ++room;
    HOLDS(extents_.extend(first, granules, granules + more) == (room >= more));
    if (room >= more) std::fill_n(used_ + end, more, true);
  }

  void decommit(uint64_t goal, bool refused) {
    const GranuleIndex first = extents_.take_dirty(goal);
    HOLDS((first == kNoGranule) == (extents_.dirty_granules() == 0 && free_dirty() == 0));
    if (first == kNoGranule) return;
    const uint32_t granules = region.extent(first).granules;
    if (!refused) {
      pm::mark_clean(first, granules);
      std::fill_n(dirty_ + (first - base), granules, false);
    }
    extents_.put_back(first, granules);
  }

  void check() const {
    extents_.audit();
    HOLDS(extents_.largest_granules() == longest_free());
    HOLDS(extents_.free_granules() == static_cast<uint64_t>(std::count(used_, used_ + kGranules, false)));
    HOLDS(extents_.dirty_granules() == free_dirty());
  }

  void finish() {
    while (!runs_.empty()) release(0, false);
    check();
    HOLDS(extents_.largest_granules() == kGranules);
    // The next input starts with none of this.
    region.extent(base).state = pm::ExtentState::none;
  }

 private:
  uint32_t dirty_in(GranuleIndex first, uint32_t granules) const {
    return static_cast<uint32_t>(std::count(dirty_ + (first - base), dirty_ + (first - base) + granules, true));
  }
  uint64_t free_dirty() const {
    uint64_t found = 0;
    for (uint32_t i = 0; i < kGranules; ++i) found += !used_[i] && dirty_[i];
    return found;
  }
  uint32_t longest_free() const {
    uint32_t most = 0;
    uint32_t length = 0;
    for (const bool used : used_) most = std::max(most, length = used ? 0 : length + 1);
    return most;
  }

  Extents extents_;
  bool used_[kGranules] = {};
  bool dirty_[kGranules] = {};
  std::vector<GranuleIndex> runs_;
};

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  static pm::os::MemoryFunctions unmapped = pm::os::memory();
  static const pm::os::MemoryFunctions real = unmapped;
  kernel = &real;
  unmapped.reserve = reserve;
  unmapped.commit = commit;
  pm::os::set_memory_functions(&unmapped);
  HOLDS(region.init(0));
  region.set_strict(true);
  const pm::Region::Chunk chunk = region.grow(kGranules, 0);
  HOLDS(chunk.granules >= kGranules);
  base = chunk.first;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  pm::set_fit(static_cast<pm::Fit>(data[0] % 4));
  Shard shard;
  for (size_t i = 1; i + 2 < size; i += 3) {
    const uint32_t much = 1 + data[i + 1] % 128;
    switch (data[i] % 8) {
      case 0:
      case 1: shard.allocate(much, 1); break;
      case 2: shard.allocate(much, 1U << (data[i + 2] % 7)); break;
      case 3: shard.allocate(kBlockGranules, kBlockGranules); break;
      case 4:
      case 5: shard.release(data[i + 2], data[i + 1] % 4 != 0); break;
      case 6: shard.extend(data[i + 2], much % 16); break;
      default: shard.decommit(much, data[i + 2] % 4 == 0);
    }
    shard.check();
  }
  shard.finish();
  return 0;
}
