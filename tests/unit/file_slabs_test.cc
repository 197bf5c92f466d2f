#include "heap/file_slabs.h"

#include "tests/unit/layers.h"
#include "tests/unit/scratch_file.h"

namespace {

using namespace pm;
using test::in_fresh_process;

struct Heap {
  Lock lock{LockRank::file_heap};
  FileExtents extents{lock, kFirstFileOwner};
  FileSlabs slabs;

  Heap() { EXPECT(extents.open(test::unnamed_file(8 * kMiB)) == 0 && slabs.init(extents.first(), extents.granules())); }
  GranuleIndex add(ClassId id) {
    long error = 0;
    const uint32_t granules = size_class(id).slab_granules;
    const GranuleIndex run = extents.allocate(granules, granules, error);
    EXPECT(run != kNoGranule);
    slabs.add(run, id);
    return run;
  }
};

TEST_CASE("a slab hands out every slot once, lowest first, and takes them back") {
  in_fresh_process([] {
    test::start_slabs();
    Heap heap;
    for (const size_t size : {16, 48, 1024, 12000}) {
      const ClassId id = class_of(size);
      const SizeClass& c = size_class(id);
      EXPECT(heap.slabs.take(id) == nullptr);
      const GranuleIndex run = heap.add(id);
      char* const start = static_cast<char*>(region.address(run));
      for (uint32_t slot = 0; slot < c.slots; ++slot) EXPECT(heap.slabs.take(id) == start + size_t{slot} * c.size);
      EXPECT(heap.slabs.take(id) == nullptr);
      heap.slabs.audit();
      // A hole in the middle is found again, before those behind it.
      EXPECT(!heap.slabs.give(run, c.slots - 1) && !heap.slabs.give(run, 1));
      heap.slabs.audit();
      EXPECT(heap.slabs.take(id) == start + c.size);
      EXPECT(heap.slabs.take(id) == start + size_t{c.slots - 1} * c.size);
      for (uint32_t slot = 0; slot + 1 < c.slots; ++slot) EXPECT(!heap.slabs.give(run, slot));
      EXPECT(heap.slabs.give(run, c.slots - 1));
      EXPECT(heap.slabs.take(id) == nullptr);
      heap.slabs.audit();
    }
  });
}

TEST_CASE("an address is told from its slot") {
  in_fresh_process([] {
    test::start_slabs();
    Heap heap;
    const ClassId id = class_of(48);
    const GranuleIndex run = heap.add(id);
    EXPECT(heap.slabs.class_of_slab(run) == id);
    char* const p = static_cast<char*>(heap.slabs.take(id));
    FileSlabs::Slot slot = heap.slabs.find(run, p);
    EXPECT(slot.index == 0 && slot.exact && !slot.is_free && slot.object == p);
    slot = heap.slabs.find(run, p + 47);
    EXPECT(slot.index == 0 && !slot.exact && slot.object == p);
    slot = heap.slabs.find(run, p + 48);
    EXPECT(slot.index == 1 && slot.exact && slot.is_free);
    slot = heap.slabs.find(run, p + kGranuleBytes - 1);  // 65536 is no multiple of 48
    EXPECT(slot.object == nullptr);
  });
}

TEST_CASE("slabs with room stand in a list, in any order of coming and going") {
  in_fresh_process([] {
    test::start_slabs();
    Heap heap;
    const ClassId id = class_of(16384);
    const uint32_t slots = size_class(id).slots;
    const GranuleIndex a = heap.add(id);
    const GranuleIndex b = heap.add(id);
    const GranuleIndex c = heap.add(id);
    for (uint32_t i = 0; i < 3 * slots; ++i) EXPECT(heap.slabs.take(id) != nullptr);
    for (const GranuleIndex run : {a, b, c}) EXPECT(!heap.slabs.give(run, 0));
    heap.slabs.audit();
    for (uint32_t slot = 1; slot < slots; ++slot) EXPECT(heap.slabs.give(b, slot) == (slot == slots - 1));
    heap.slabs.audit();
    EXPECT(region.granule_of(heap.slabs.take(id)) == c && region.granule_of(heap.slabs.take(id)) == a);
    EXPECT(heap.slabs.take(id) == nullptr);
  });
}

}  // namespace
