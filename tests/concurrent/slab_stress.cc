// Threads take and give back batches of a few classes while another sweeps the slabs and releases empty ones. Each
// object has one owner at a time, none lies in two slabs, and in the end every slab can go.
#include "stress.h"

namespace {

using namespace pm;
using namespace pm::stress;

constexpr size_t kWindow = kGiB;
constexpr size_t kSizes[] = {16, 48, 1024, 10240, 81920};
constexpr size_t kBatch = 64;

class Stress {
 public:
  void work(unsigned seed, double length) {
    Random random(seed + 1);
    const Deadline deadline(length);
    // Now and then everything goes back at once, so that slabs become empty.
    std::vector<void*> held[std::size(kSizes)];
    while (!deadline.passed()) {
      const uint32_t c = random.below(std::size(kSizes));
      const size_t limit = size_t{16} * kMiB / kSizes[c] / many_threads();
      if (held[c].size() < limit && !random.one_in(3)) {
        take(c, 1 + random.below(kBatch), held[c]);
      } else if (random.one_in(64)) {
        while (!held[c].empty()) give(c, kBatch, held[c], random);
      } else {
        give(c, 1 + random.below(kBatch), held[c], random);
      }
    }
    for (uint32_t c = 0; c < std::size(kSizes); ++c) {
      while (!held[c].empty()) give(c, kBatch, held[c], random);
    }
  }

 private:
  void take(uint32_t c, size_t wanted, std::vector<void*>& held) {
    const ClassId id = class_of(kSizes[c]);
    void* objects[kBatch];
    const size_t n = slab_allocate(id, objects, wanted);
    EXPECT(n > 0 && n <= wanted);
    for (size_t i = 0; i < n; ++i) {
      EXPECT(class_at(objects[i]) == id);
      owners_.take(objects[i]);
      stamp(objects[i], size_class(id).size);
      held.push_back(objects[i]);
    }
  }

  // Neighbours together or from anywhere: both orders matter to slab_deallocate.
  void give(uint32_t c, size_t wanted, std::vector<void*>& held, Random& random) {
    const ClassId id = class_of(kSizes[c]);
    void* objects[kBatch];
    const bool shuffled = random.one_in(2);
    size_t n = 0;
    for (; n < wanted && !held.empty(); ++n) {
      if (shuffled) std::swap(held.back(), held[random.below(static_cast<uint32_t>(held.size()))]);
      objects[n] = held.back();
      held.pop_back();
      EXPECT(has_stamp(objects[n], size_class(id).size));
      const SlotPlace place = slab_find(objects[n]);
      EXPECT(place.id == id && place.object == objects[n] && place.exact && !place.free);
      owners_.give(objects[n]);
    }
    EXPECT(slab_deallocate(id, objects, n) == 0);
  }

  Owners owners_{kWindow};
};

}  // namespace

int main() {
  start_pages(kWindow, kMiB);
  EXPECT(slab_init());
  static Stress stress;
  const double length = seconds(2);
  Random random(3);
  static SlabClassStatistics rows[kMaxClasses];
  run_threads(
      many_threads(), true, [&](unsigned i) { stress.work(i, length); },
      [&] {
        slab_trim();
        slab_collect(rows);
        usleep(random.below(300));
      });
  EXPECT(slab_counters().sweeps > 0 && slab_counters().released > 0);
  expect_no_object_outside();
  return 0;
}
