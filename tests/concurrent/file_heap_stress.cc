// Threads allocate from one file heap, free each other's objects and realloc them, while another trims and reads the
// numbers, and heaps beside it come and go. Contents survive, and in the end everything is free.
#include <cerrno>

#include "heap/file_heap.h"
#include "stress.h"
#include "tests/scratch.h"

namespace {

using namespace pm;
using namespace pm::stress;

constexpr size_t kHeapBytes = 256 * kMiB;
constexpr uint32_t kHeld = 32;

// In memory where there is such a place, so that threads meet in the heap and not in a disk's journal.
const char* directory() { return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : scratch_directory(); }

FileHeap* create(uint64_t bytes) {
  long error = 0;
  FileHeap* const heap =
      FileHeap::create({.path = directory(), .kind = os::FileOrigin::unnamed, .sync = false, .bytes = bytes}, error);
  EXPECT(heap != nullptr && error == 0);
  return heap;
}

size_t random_size(Random& random) {
  return 16 + random.below(random.one_in(20) ? 4 << 20 : random.one_in(4) ? 100'000 : 1000);
}

class Worker {
 public:
  Worker(FileHeap& heap, Exchange& exchange, unsigned seed) : heap_(heap), exchange_(exchange), random_(seed + 1) {}

  void run(double length) {
    const Deadline deadline(length);
    while (!deadline.passed()) {
      void*& p = held_[random_.below(kHeld)];
      if (p == nullptr) {
        p = allocate();
      } else if (random_.one_in(4)) {
        reallocate(p);
      } else if (random_.one_in(3)) {
        p = exchange_.swap(random_.below(64), p);
      } else {
        drop(p);
        p = nullptr;
      }
      ++steps_;
    }
    for (void* const p : held_) {
      if (p != nullptr) drop(p);
    }
  }

  uint64_t steps() const { return steps_; }

  void drop(void* p) {
    EXPECT(has_stamp(p, size_of(p)));
    heap_.deallocate(p, nullptr);
  }

 private:
  size_t size_of(void* p) { return heap_.usable_size(p, "usable", nullptr); }

  void* allocate() {
    long error = 0;
    void* const p = heap_.allocate(random_size(random_), kSizeStep, error);
    EXPECT(p != nullptr || error == -ENOMEM);
    if (p != nullptr) stamp(p, size_of(p));
    return p;
  }

  void reallocate(void*& p) {
    EXPECT(has_stamp(p, size_of(p)));
    uint64_t first = 0;
    memcpy(&first, p, sizeof first);
    long error = 0;
    void* const moved = heap_.reallocate(p, random_size(random_), nullptr, error);
    if (moved == nullptr) {
      EXPECT(error == -ENOMEM);
      return;
    }
    EXPECT(memcmp(moved, &first, sizeof first) == 0);
    p = moved;
    stamp(p, size_of(p));
  }

  FileHeap& heap_;
  Exchange& exchange_;
  Random random_;
  uint64_t steps_ = 0;
  void* held_[kHeld] = {};
};

}  // namespace

int main() {
  start_pages(4 * kGiB, 4 * kMiB);
  EXPECT(slab_init());
  FileHeap& heap = *create(kHeapBytes);
  Exchange exchange;
  const double length = seconds(2);
  Random random(5);
  unsigned passing = 0;
  std::atomic<uint64_t> steps{0};
  run_threads(
      many_threads(), true,
      [&](unsigned i) {
        Worker worker(heap, exchange, i);
        worker.run(length);
        steps.fetch_add(worker.steps(), std::memory_order_relaxed);
      },
      [&] {
        heap.trim(random.one_in(4) ? UINT64_MAX : random.below(8U << 20));
        heap.audit();
        FileHeapStatistics now;
        EXPECT(heap.collect(now) && now.used + now.free <= now.size);
        FileHeap& other = *create((1 + random.below(64)) * kMiB);
        EXPECT(file_heap_sum().heaps == 2);
        EXPECT(other.destroy() == 0);
        ++passing;
        usleep(random.below(2000));
      });
  exchange.empty([&](void* p) { Worker(heap, exchange, 0).drop(p); });
  heap.audit();
  heap.trim(UINT64_MAX);
  FileHeapStatistics now;
  EXPECT(heap.collect(now));
  EXPECT(now.objects == 0 && now.used == 0 && now.free == now.size && now.largest == now.size && now.backed == 0);
  EXPECT(heap.destroy() == 0);
  printf("%llu steps, %u heaps came and went beside\n", static_cast<unsigned long long>(steps.load()), passing);
  return 0;
}
