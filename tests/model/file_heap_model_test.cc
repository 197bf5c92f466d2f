// Random lists of operations on file heaps of several lengths against a plain list of what each object must hold. After
// every so many steps all structures are audited, and the heap's numbers must be those of the list.
#include <cerrno>
#include <vector>

#include "heap/file_heap.h"
#include "page/page.h"
#include "slab/slab.h"
#include "tests/model/model.h"
#include "tests/scratch.h"
#include "tests/window.h"

namespace {

using model::Random;

struct Object {
  uint8_t* start;
  size_t bytes;
  uint8_t mark;
};

class Checked {
 public:
  explicit Checked(uint64_t bytes) {
    long error = 0;
    heap_ = pm::FileHeap::create(
        {.path = scratch_directory(), .kind = pm::os::FileOrigin::unnamed, .sync = false, .bytes = bytes}, error);
    HOLDS(heap_ != nullptr);
    room_ = bytes;
  }

  void step(Random& random) {
    const uint64_t action = random.below(100);
    if (objects_.empty() || action < (is_full_ ? 30U : 55U)) return allocate(random);
    const size_t which = random.below(objects_.size());
    if (action < 85) return deallocate(which);
    if (action < 98) return reallocate(which, random_size(random));
    if (random.one_in(20)) heap_->trim(random.one_in(2) ? UINT64_MAX : random.of_bits(22));
    verify(objects_[which]);
  }

  void reconcile() {
    heap_->audit();
    uint64_t used = 0;
    for (const Object& object : objects_) {
      size_t class_size = 0;
      used += heap_->find_size(object.start, class_size);
      verify(object);
    }
    pm::FileHeapStatistics now;
    HOLDS(heap_->collect(now));
    HOLDS(now.used == used && now.objects == objects_.size() && now.size == room_);
    HOLDS(now.used + now.free <= now.size && now.largest <= now.free && now.used <= now.backed);
  }

  void finish() {
    reconcile();
    while (!objects_.empty()) deallocate(objects_.size() - 1);
    reconcile();
    heap_->trim(UINT64_MAX);
    pm::FileHeapStatistics now;
    HOLDS(heap_->collect(now) && now.free == now.size && now.largest == now.size && now.backed == 0);
    HOLDS(heap_->destroy() == 0);
  }

 private:
  // Mostly small, and nothing above a quarter of the heap.
  size_t random_size(Random& random) const {
    const uint64_t kind = random.below(1000);
    const size_t size = random.of_bits(kind < 700 ? 9 : kind < 960 ? 14 : kind < 995 ? 18 : 23);
    return size < room_ / 4 ? size : room_ / 4;
  }

  void allocate(Random& random) {
    const size_t size = random_size(random);
    const size_t alignment = random.one_in(10) ? pm::kSizeStep << random.below(14) : pm::kSizeStep;
    long error = 0;
    auto* const p = static_cast<uint8_t*>(heap_->allocate(size, alignment, error));
    is_full_ = p == nullptr;
    if (p == nullptr) return HOLDS(error == -ENOMEM);
    HOLDS(pm::is_aligned(pm::address_of(p), alignment));
    objects_.push_back({p, 0, 0});
    resized(objects_.back(), size);
  }

  void deallocate(size_t which) {
    verify(objects_[which]);
    heap_->deallocate(objects_[which].start, nullptr);
    objects_[which] = objects_.back();
    objects_.pop_back();
    is_full_ = false;
  }

  void reallocate(size_t which, size_t size) {
    Object& object = objects_[which];
    verify(object);
    long error = 0;
    auto* const moved = static_cast<uint8_t*>(heap_->reallocate(object.start, size, nullptr, error));
    if (moved == nullptr) {
      HOLDS(error == -ENOMEM && size > object.bytes);
      return verify(object);
    }
    object.start = moved;
    if (size < object.bytes) object.bytes = size;
    verify(object);
    resized(object, size);
  }

  // Every byte is the object's own until it goes.
  void resized(Object& object, size_t bytes) {
    HOLDS(heap_->usable_size(object.start, "usable", nullptr) >= bytes);
    object.bytes = bytes;
    object.mark = ++mark_;
    memset(object.start, object.mark, bytes);
  }

  static void verify(const Object& object) {
    // The first byte is right, and each is as the one before it.
    HOLDS(object.bytes == 0 ||
          (object.start[0] == object.mark && memcmp(object.start, object.start + 1, object.bytes - 1) == 0));
  }

  pm::FileHeap* heap_;
  uint64_t room_;
  std::vector<Object> objects_;
  uint8_t mark_ = 0;
  bool is_full_ = false;
};

}  // namespace

int main(int count, char** words) {
  const model::Arguments run = model::arguments(count, words, 1000000);
  HOLDS(pm::page_init({.reserve_bytes = 4 * pm::kGiB, .dirty_bytes = 64 * pm::kMiB, .huge = pm::HugeMode::never}));
  pm::test::place_window();
  HOLDS(pm::slab_init());
  constexpr uint64_t kStepsPerCheck = POOLMALLOC_DEBUG ? 500 : 10000;
  constexpr uint64_t kLengths[] = {pm::kGranuleBytes, pm::kMiB, 3 * pm::kMiB, 16 * pm::kMiB, 64 * pm::kMiB};
  Random random(run.seed);
  for (const uint64_t bytes : kLengths) {
    Checked heap(bytes);
    const uint64_t steps = run.steps / (sizeof kLengths / sizeof *kLengths);
    for (uint64_t i = 0; i < steps; ++i) {
      heap.step(random);
      if (i % kStepsPerCheck == 0) heap.reconcile();
    }
    heap.finish();
  }
}
