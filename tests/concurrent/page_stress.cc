// Large objects come, grow, shrink, move and go, and slab runs beside them, while another thread decommits, counts and
// audits. Contents survive, zeroed memory is zero, nothing overlaps, and in the end everything is free.
#include "stress.h"

namespace {

using namespace pm;
using namespace pm::stress;

constexpr size_t kWindow = 4 * kGiB;
constexpr size_t kStep = 4096;

// A mark on every page, so that a page that is lost, given twice or moved to the wrong place is seen.
void fill(void* p, size_t bytes, uint64_t mark) {
  for (size_t offset = 0; offset < bytes; offset += kStep) {
    const uint64_t value = mark + offset;
    memcpy(static_cast<char*>(p) + offset, &value, sizeof value);
  }
}

bool is_filled(const void* p, size_t bytes, uint64_t mark) {
  for (size_t offset = 0; offset < bytes; offset += kStep) {
    uint64_t value;
    memcpy(&value, static_cast<const char*>(p) + offset, sizeof value);
    if (value != mark + offset) return false;
  }
  return true;
}

// Some bytes of every page: where fill() writes and where nobody does.
bool is_zero(const void* p, size_t bytes) {
  for (size_t offset = 0; offset < bytes; offset += kStep / 4) {
    if (static_cast<const char*>(p)[offset] != 0) return false;
  }
  return true;
}

struct Large {
  void* p;
  size_t bytes;
  uint64_t mark;
};

class Worker {
 public:
  explicit Worker(unsigned seed) : random_(seed + 1), mark_(uint64_t{seed} << 40) {}

  void run(double length) {
    const Deadline deadline(length);
    while (!deadline.passed()) {
      work_on_large(objects_[random_.below(kHeld)]);
      work_on_run(runs_[random_.below(kHeld)]);
    }
    for (Large& large : objects_) {
      if (large.p != nullptr) free(large);
    }
    for (Run& run : runs_) {
      if (run.granules != 0) release(run);
    }
  }

 private:
  static constexpr uint32_t kHeld = 8;

  struct Run {
    GranuleIndex first;
    uint32_t granules;
    uint64_t mark;
  };

  size_t random_size() {
    const uint32_t most = random_.one_in(8) ? 8 << 20 : 512 << 10;
    return 1 + random_.below(most);
  }

  void work_on_large(Large& large) {
    if (large.p == nullptr) return allocate(large);
    EXPECT(is_filled(large.p, large.bytes, large.mark));
    switch (random_.below(4)) {
      case 0: return resize(large);
      case 1: return move(large);
      default: return free(large);
    }
  }

  void allocate(Large& large) {
    const size_t alignment = random_.one_in(4) ? kGranuleBytes << random_.below(7) : kSizeStep;
    const bool zero = random_.one_in(2);
    large.bytes = random_size();
    large.p = allocate_large(large.bytes, alignment, zero);
    EXPECT(large.p != nullptr && is_aligned(address_of(large.p), alignment));
    EXPECT(large_size(large.p) >= large.bytes);
    if (zero) EXPECT(is_zero(large.p, large.bytes));
    refill(large);
  }

  void resize(Large& large) {
    const size_t bytes = random_size();
    if (!resize_large(large.p, bytes)) return;
    EXPECT(large_size(large.p) >= bytes);
    EXPECT(is_filled(large.p, bytes < large.bytes ? bytes : large.bytes, large.mark));
    large.bytes = bytes;
    refill(large);
  }

  void move(Large& large) {
    const size_t bytes = large.bytes + random_size();
    void* const moved = move_large(large.p, bytes);
    if (moved == nullptr) return;
    EXPECT(is_filled(moved, large.bytes, large.mark));
    large.p = moved;
    large.bytes = bytes;
    refill(large);
  }

  void free(Large& large) {
    void* start = nullptr;
    EXPECT(find_large(large.p, &start) == FreeLarge::done && start == large.p);
    EXPECT(free_large(large.p, &start) == FreeLarge::done);
    large.p = nullptr;
  }

  void work_on_run(Run& run) {
    if (run.granules != 0) return release(run);
    const uint32_t granules = 1U << random_.below(5);
    bool clean = false;
    run.first = allocate_slab_run(granules, &clean);
    EXPECT(run.first != kNoGranule && run.first % granules == 0);
    run.granules = granules;
    run.mark = ++mark_;
    if (clean) EXPECT(is_zero(region.address(run.first), run.granules * kGranuleBytes));
    fill(region.address(run.first), run.granules * kGranuleBytes, run.mark);
  }

  void release(Run& run) {
    EXPECT(is_filled(region.address(run.first), run.granules * kGranuleBytes, run.mark));
    release_slab_run(run.first, run.granules);
    run.granules = 0;
  }

  void refill(Large& large) {
    large.mark = ++mark_;
    fill(large.p, large.bytes, large.mark);
  }

  Random random_;
  uint64_t mark_;
  Large objects_[kHeld] = {};
  Run runs_[kHeld] = {};
};

}  // namespace

int main() {
  start_pages(kWindow, 4 * kMiB);
  const double length = seconds(2);
  Random random(5);
  PageStatistics pages;
  run_threads(
      many_threads(), true, [&](unsigned i) { Worker(i).run(length); },
      [&] {
        page_trim(random.one_in(4) ? SIZE_MAX : random.below(8U << 20));
        page_audit();
        page_collect(pages);
        EXPECT(pages.dirty_bytes <= pages.committed_bytes);
        usleep(random.below(2000));
      });
  EXPECT(pages.decommitted_bytes > 0);
  page_trim(SIZE_MAX);
  page_audit();
  page_collect(pages);
  EXPECT(pages.large_objects == 0 && pages.large_bytes == 0 && pages.large_allocations == pages.large_frees);
  EXPECT(pages.slab_run_bytes == 0 && pages.free_in_blocks_bytes == 0);
  EXPECT(pages.dirty_bytes == 0 && pages.clean_bytes == pages.committed_bytes);
  printf("%llu large objects, %llu moves, %llu MiB decommitted\n", static_cast<unsigned long long>(pages.large_frees),
         static_cast<unsigned long long>(pages.moves), static_cast<unsigned long long>(pages.decommitted_bytes / kMiB));
  return 0;
}
