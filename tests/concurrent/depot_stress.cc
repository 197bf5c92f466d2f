// Threads put batches into the depot and take them out, while the system now and then refuses memory for batch records.
// The objects are mere numbers; each is in one place at a time, and in the end all come out again.
#include "magazine/depot.h"
#include "os/memory.h"
#include "stress.h"

namespace {

using namespace pm;
using namespace pm::stress;

constexpr ClassId kClasses = 3;
constexpr uint32_t kObjectsPerClass = 16 * 1024;

os::MemoryFunctions kernel;
std::atomic<uint32_t> commits{0};

// The thread that is refused sleeps first, so that others commit meanwhile.
bool commit_reluctantly(uintptr_t start, size_t bytes) {
  if (commits.fetch_add(1) % 2 == 0) return kernel.commit(start, bytes);
  usleep(200);
  return false;
}

class Stress {
 public:
  void* object(ClassId id, uint32_t i) { return reinterpret_cast<void*>(uintptr_t{id} << 32 | uintptr_t{i + 1} * 16); }

  // Each thread starts with a share of every class, puts some of what it has and takes others' in exchange.
  void work(unsigned thread, unsigned threads, double length) {
    Random random(thread + 1);
    std::vector<void*> held[kClasses + 1];
    for (ClassId id = 1; id <= kClasses; ++id) {
      for (uint32_t i = thread; i < kObjectsPerClass; i += threads) {
        held[id].push_back(object(id, i));
        take(id, held[id].back());
      }
    }
    const Deadline deadline(length);
    while (!deadline.passed()) {
      const auto id = static_cast<ClassId>(1 + random.below(kClasses));
      if (random.one_in(2)) {
        put(id, 1 + random.below(kMaxBatch), held[id]);
      } else {
        take_batch(id, held[id]);
      }
    }
    for (ClassId id = 1; id <= kClasses; ++id) {
      for (void* p : held[id]) give(id, p);
    }
  }

  void finish() {
    uint32_t in_depot = 0;
    for (ClassId id = 1; id <= kClasses; ++id) {
      void* objects[kMaxBatch];
      while (const size_t n = depot_take(0, id, objects)) {
        for (size_t i = 0; i < n; ++i) take(id, objects[i]);
        in_depot += static_cast<uint32_t>(n);
      }
      EXPECT(depot_objects(id) == 0);
    }
    EXPECT(depot_bytes() == 0);
    EXPECT(in_depot + given_.load() == kClasses * kObjectsPerClass);
  }

 private:
  std::atomic<uint8_t>& owner(ClassId id, const void* p) {
    const uintptr_t number = (address_of(p) & UINT32_MAX) / 16 - 1;
    EXPECT(address_of(p) >> 32 == id && number < kObjectsPerClass);
    return outside_[id][number];
  }

  void take(ClassId id, const void* p) { EXPECT(owner(id, p).exchange(1) == 0); }
  void give(ClassId id, const void* p) {
    EXPECT(owner(id, p).exchange(0) == 1);
    given_.fetch_add(1);
  }

  void put(ClassId id, size_t count, std::vector<void*>& held) {
    if (held.size() < count) return;
    void** const batch = held.data() + held.size() - count;
    for (size_t i = 0; i < count; ++i) EXPECT(owner(id, batch[i]).exchange(0) == 1);
    if (depot_put(0, id, batch, count)) {
      held.resize(held.size() - count);
    } else {
      for (size_t i = 0; i < count; ++i) take(id, batch[i]);
    }
  }

  void take_batch(ClassId id, std::vector<void*>& held) {
    void* objects[kMaxBatch];
    const size_t n = depot_take(0, id, objects);
    EXPECT(n <= kMaxBatch);
    for (size_t i = 0; i < n; ++i) {
      take(id, objects[i]);
      held.push_back(objects[i]);
    }
  }

  std::atomic<uint8_t> outside_[kClasses + 1][kObjectsPerClass] = {};
  std::atomic<uint32_t> given_{0};  // at the end of their threads
};

}  // namespace

int main() {
  kernel = os::memory();
  static os::MemoryFunctions reluctant = kernel;
  reluctant.commit = commit_reluctantly;
  os::set_memory_functions(&reluctant);
  EXPECT(depot_init(8 * kMiB));
  static Stress stress;
  const double length = seconds(2);
  const unsigned threads = many_threads();
  run_threads(
      threads, true, [&](unsigned i) { stress.work(i, threads, length); }, [] { usleep(1000); });
  EXPECT(commits.load() > 2);
  stress.finish();
  return 0;
}
