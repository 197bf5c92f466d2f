// The whole heap: threads allocate, resize, zero, align and free, hand objects to each other, and stop and start, while
// another trims everything and reads the statistics. With the argument "nodes" the machine seems to have two memory
// nodes, one of which is full now and then.
#include <optional>

#include "heap/heap.h"
#include "magazine/magazine.h"
#include "os/libc.h"
#include "runtime/runtime.h"
#include "stress.h"
#include "tests/fake_nodes.h"

namespace {

using namespace pm;
using namespace pm::stress;

constexpr size_t kWindow = 8 * kGiB;

// Under a sanitizer the runtime leaves everything to the sanitizer's allocator; the heap itself works there as
// anywhere.
bool start_whole_heap() {
  const char* instrument = nullptr;
  if (!os::is_instrumented(&instrument)) return start_heap();
  start_pages(kWindow, kMiB);
  EXPECT(nodes_init({.mode = NumaMode::automatic, .preferred = -1}));
  EXPECT(slab_init());
  EXPECT(magazine_init(
      {.magazine_bytes = 2 * kMiB, .depot_bytes = 4 * kMiB, .allow_rseq = true, .use_mm_cid = false, .checked = true}));
  heap_view.checked = true;
  heap_view.small_limit = kMaxClassSize + 1;
  return true;
}

const void* here() { return reinterpret_cast<const void*>(&start_whole_heap); }

struct Object {
  char* p = nullptr;
  size_t size = 0;
};

// The first and the last byte say whose they are; the pages between are the page layer's affair.
void mark(const Object& object) {
  object.p[0] = static_cast<char>(address_of(object.p) >> 4);
  object.p[object.size - 1] = object.p[0];
}

bool is_marked(const Object& object) { return object.p[object.size - 1] == object.p[0]; }

class Stress {
 public:
  void work(unsigned seed, double length) {
    Random random(seed + 1);
    const Deadline deadline(length);
    std::vector<Object> held(512);
    while (!deadline.passed()) {
      Object& object = held[random.below(static_cast<uint32_t>(held.size()))];
      if (object.p == nullptr) {
        allocate_some(object, random);
      } else if (random.one_in(4)) {
        resize(object, random);
      } else {
        pass_on(object, random);
      }
    }
    for (const Object& object : held) free(object);
  }

  void finish() {
    passed_.empty([this](void* p) { free({static_cast<char*>(p), usable_size(p, here())}); });
    trim_heap(SIZE_MAX);
    EXPECT(heap_counters().misuses == 0 && heap_counters().foreign_frees == 0);
    static SlabClassStatistics rows[kMaxClasses];
    slab_collect(rows);
    for (const SlabClassStatistics& row : rows) EXPECT(row.slots == 0);
    PageStatistics pages;
    page_collect(pages);
    EXPECT(pages.large_objects == 0 && pages.slab_run_bytes == 0 && pages.dirty_bytes == 0);
  }

 private:
  static size_t random_size(Random& random) {
    if (random.one_in(64)) return 1 + random.below(2U << 20);
    return 1 + random.below(random.one_in(8) ? 16 * 1024 : 256);
  }

  // Under way between threads only the address is known, so the object is what malloc_usable_size says.
  void take(Object& object) {
    EXPECT(object.p != nullptr);
    object.size = usable_size(object.p, here());
    owners_.take(object.p);
    mark(object);
  }

  void allocate_some(Object& object, Random& random) {
    const size_t size = random_size(random);
    switch (random.below(8)) {
      case 0: {
        const size_t alignment = size_t{16} << random.below(12);
        object.p = static_cast<char*>(allocate_aligned(alignment, size));
        EXPECT(is_aligned(address_of(object.p), alignment));
        break;
      }
      case 1:
        object.p = static_cast<char*>(allocate_zeroed(size));
        EXPECT(object.p != nullptr);
        for (size_t i = 0; i < size; i += 61) EXPECT(object.p[i] == 0);
        EXPECT(object.p[size - 1] == 0);
        break;
      default: object.p = static_cast<char*>(allocate(size));
    }
    take(object);
    EXPECT(object.size >= size);
  }

  void resize(Object& object, Random& random) {
    EXPECT(is_marked(object));
    const size_t size = random_size(random);
    const char first = object.p[0];
    const char* const before = object.p;
    owners_.give(object.p);
    object.p = static_cast<char*>(reallocate(object.p, size, here()));
    EXPECT(object.p != nullptr && object.p[0] == first);
    if (object.p != before && size >= object.size) EXPECT(object.p[object.size - 1] == first);
    take(object);
    EXPECT(object.size >= size);
  }

  void pass_on(Object& object, Random& random) {
    if (random.one_in(3)) {
      object.p = static_cast<char*>(passed_.swap(random.below(UINT32_MAX), object.p));
      if (object.p != nullptr) object.size = usable_size(object.p, here());
    } else {
      free(object);
      object.p = nullptr;
    }
  }

  void free(const Object& object) {
    if (object.p == nullptr) return;
    EXPECT(is_marked(object));
    owners_.give(object.p);
    deallocate(object.p, here());
  }

  Owners owners_{kWindow};
  Exchange passed_;
};

void read_statistics() {
  static Snapshot snapshot;
  collect(snapshot);
  if (serving() != Serving::heap) return;
  EXPECT(snapshot.live_bytes <= snapshot.committed_bytes + snapshot.reserved_bytes);
  EXPECT(snapshot.misuses == 0);
}

// More than a heap may have before it looks for nodes.
void learn_nodes() {
  void* held[20];
  for (void*& p : held) p = allocate(4 << 20);
  for (void* p : held) deallocate(p, here());
  EXPECT(node_count() == 2);
}

}  // namespace

int main(int argc, char** argv) {
  const bool nodes = argc > 1 && strcmp(argv[1], "nodes") == 0;
  if (nodes) test::fake_machine(2, os::kMaxNodeCpus);
  setenv("POOLMALLOC_RESERVE", "8g", 1);
  EXPECT(start_whole_heap());
  static std::optional<Stress> stress;
  stress.emplace();
  const double length = seconds(3);
  // Threads that end and others that begin in their place: nothing may hang on a thread.
  for (int generation = 0; generation < 3; ++generation) {
    Random random(11);
    run_threads(
        many_threads(), true,
        [&](unsigned i) {
          if (nodes && i == 0 && generation == 0) learn_nodes();
          stress->work(i, length / 3);
        },
        [&] {
          trim_heap(random.one_in(2) ? SIZE_MAX : kMiB);
          page_audit();
          read_statistics();
          test::full_node.store(static_cast<int>(random.below(4)) - 1, std::memory_order_relaxed);
          usleep(random.below(3000));
        });
  }
  stress->finish();
  if (nodes && std::thread::hardware_concurrency() > 1) {
    EXPECT(magazine_counters().remote_frees > 0 && node_counters().bound_bytes > 0);
  }
  return 0;
}
