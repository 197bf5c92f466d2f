#include "magazine/depot.h"

#include <vector>

#include "os/memory.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

// The depot never looks at objects, so numbers do.
void* object(uintptr_t number) { return reinterpret_cast<void*>(number * 16); }

std::vector<void*> batch(uintptr_t first, size_t count) {
  std::vector<void*> objects;
  for (size_t i = 0; i < count; ++i) objects.push_back(object(first + i));
  return objects;
}

bool put(ClassId id, const std::vector<void*>& objects) { return depot_put(0, id, objects.data(), objects.size()); }

std::vector<void*> take(ClassId id) {
  std::vector<void*> objects(kMaxBatch);
  objects.resize(depot_take(0, id, objects.data()));
  return objects;
}

TEST_CASE("batches come out whole, the last first, by class") {
  in_fresh_process([] {
    EXPECT(depot_init(kMiB));
    EXPECT(take(1).empty());
    EXPECT(put(1, batch(100, 64)) && put(1, batch(200, 1)) && put(2, batch(300, 7)));
    EXPECT(depot_objects(1) == 65 && depot_objects(2) == 7);
    EXPECT(depot_bytes() == 65 * size_class(1).size + 7 * size_class(2).size);
    EXPECT(take(1) == batch(200, 1) && take(1) == batch(100, 64) && take(1).empty());
    EXPECT(take(2) == batch(300, 7));
    EXPECT(depot_bytes() == 0 && depot_objects(1) == 0 && depot_objects(2) == 0);
  });
}

TEST_CASE("what it holds is bounded: by the limit, and for a small heap by 256 KiB") {
  in_fresh_process([] {
    EXPECT(depot_init(kMiB));
    const ClassId id = class_of(1024);
    size_t batches = 0;
    while (put(id, batch(batches * 8 + 1, 8))) ++batches;
    EXPECT(batches == 32 && depot_bytes() == 256 * kKiB);
    EXPECT(take(id) == batch(31 * 8 + 1, 8));
    EXPECT(put(id, batch(1000, 8)) && !put(id, batch(2000, 8)));
  });
  in_fresh_process([] {
    EXPECT(depot_init(kKiB));
    EXPECT(put(class_of(1024), batch(1, 1)) && !put(class_of(16), batch(1, 1)));
  });
  in_fresh_process([] {
    EXPECT(depot_init(0));
    EXPECT(!put(1, batch(1, 1)) && take(1).empty());
  });
}

TEST_CASE("a large heap's depot may be larger") {
  in_fresh_process([] {
    test::start_pages();
    EXPECT(region.grow(256 * kMiB >> kGranuleShift, 0).granules != 0);
    EXPECT(depot_init(3 * kMiB));
    const ClassId id = class_of(1024);
    while (put(id, batch(1, 64))) {
    }
    EXPECT(depot_bytes() == 3 * kMiB);
  });
}

TEST_CASE("a heap of a few MiB has a depot of half a MiB at most") {
  in_fresh_process([] {
    test::start_pages();
    EXPECT(region.grow(24 * kMiB >> kGranuleShift, 0).granules != 0);
    EXPECT(region.committed_bytes() < 32 * kMiB);
    EXPECT(depot_init(3 * kMiB));
    const ClassId id = class_of(1024);
    while (put(id, batch(1, 64))) {
    }
    EXPECT(depot_bytes() == 512 * kKiB);
  });
}

TEST_CASE("a refusal while another thread gets memory hands no record out twice") {
  in_fresh_process([] {
    EXPECT(depot_init(kMiB));
    static const os::MemoryFunctions kernel = os::memory();
    static os::MemoryFunctions interleaved = kernel;
    // The second commit is the other thread's, and comes while the first, which will be refused, is under way.
    static int commits = 0;
    interleaved.commit = [](uintptr_t start, size_t bytes) {
      if (++commits != 1) return kernel.commit(start, bytes);
      EXPECT(put(1, batch(1000, 3)));
      return false;
    };
    os::set_memory_functions(&interleaved);
    const bool first = put(1, batch(1, 2));
    constexpr uintptr_t kBatches = 64;
    for (uintptr_t i = 1; i <= kBatches; ++i) EXPECT(put(1, batch(2000 + 10 * i, 3)));
    for (uintptr_t i = kBatches; i >= 1; --i) EXPECT(take(1) == batch(2000 + 10 * i, 3));
    if (first) EXPECT(take(1) == batch(1, 2));
    EXPECT(take(1) == batch(1000, 3));
    EXPECT(take(1).empty());
  });
}

}  // namespace
