#include "slab/slab.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "os/memory.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;
using pm::test::start_slabs;

std::vector<void*> take(ClassId id, size_t wanted) {
  std::vector<void*> objects(wanted);
  size_t n = 0;
  while (n < wanted) {
    const size_t got = slab_allocate(id, objects.data() + n, std::min<size_t>(64, wanted - n));
    EXPECT(got > 0);
    n += got;
  }
  return objects;
}

size_t give(ClassId id, std::vector<void*> objects) { return slab_deallocate(id, objects.data(), objects.size()); }

SlabClassStatistics row_of(ClassId id) {
  static SlabClassStatistics rows[kMaxClasses];
  slab_collect(rows);
  slab_audit();
  return rows[id];
}

TEST_CASE("every class: all slots of a slab, each once, each found again") {
  in_fresh_process([] {
    start_slabs();
    for (unsigned i = 1; i < class_table->count; ++i) {
      const auto id = static_cast<ClassId>(i);
      const SizeClass& c = size_class(id);
      const std::vector<void*> objects = take(id, c.slots);
      EXPECT(std::set<void*>(objects.begin(), objects.end()).size() == c.slots);
      for (void* p : objects) {
        EXPECT(class_at(p) == id && class_at(static_cast<char*>(p) + c.size - 1) == id);
        const SlotPlace place = slab_find(p);
        EXPECT(place.id == id && place.object == p && place.exact && !place.free);
        const SlotPlace inside = slab_find(static_cast<char*>(p) + c.size - 1);
        EXPECT(inside.object == p && !inside.exact);
      }
      const SlabClassStatistics row = row_of(id);
      EXPECT(row.slabs == 1 && row.slots == c.slots && row.free_slots == 0);
      // One more is in another slab.
      void* const more = take(id, 1)[0];
      EXPECT(row_of(id).slabs == 2);
      EXPECT(give(id, {more}) == 0 && slab_find(more).free);
      EXPECT(give(id, objects) == 0);
    }
    EXPECT(slab_trim() > 0);
    EXPECT(slab_counters().created == slab_counters().released);
  });
}

TEST_CASE("a batch comes highest address first, so that a magazine hands out the lowest") {
  in_fresh_process([] {
    start_slabs();
    void* objects[16];
    EXPECT(slab_allocate(class_of(64), objects, 16) == 16);
    for (int i = 1; i < 16; ++i) EXPECT(static_cast<char*>(objects[i - 1]) == static_cast<char*>(objects[i]) + 64);
  });
}

TEST_CASE("what is free already or no slot's start is handed back, the rest is taken") {
  in_fresh_process([] {
    start_slabs();
    const ClassId id = class_of(48);
    const std::vector<void*> objects = take(id, 8);
    EXPECT(give(id, {objects[2]}) == 0);
    void* const inside = static_cast<char*>(objects[3]) + 16;
    // Behind the last slot of the granule: 65536 = 1365 * 48 + 16.
    void* const behind = static_cast<char*>(objects[7]) + 1365 * 48;
    void* batch[] = {objects[0], objects[2], inside, objects[1], objects[4], behind, objects[4]};
    EXPECT(slab_deallocate(id, batch, 7) == 4);
    EXPECT(batch[0] == objects[2] && batch[1] == inside && batch[2] == behind && batch[3] == objects[4]);
    for (const size_t i : {0U, 1U, 2U, 4U}) EXPECT(slab_find(objects[i]).free);
    for (const size_t i : {3U, 5U, 6U, 7U}) EXPECT(!slab_find(objects[i]).free);
  });
}

TEST_CASE("behind the last slot there is no object") {
  in_fresh_process([] {
    start_slabs();
    const ClassId id = class_of(48);
    const std::vector<void*> objects = take(id, 1);
    const SlotPlace place = slab_find(static_cast<char*>(objects[0]) + 1365 * 48);
    EXPECT(place.id == id && place.object == nullptr && !place.exact);
  });
}

TEST_CASE("fuller slabs are used first after a sweep, and empty ones go") {
  in_fresh_process([] {
    start_slabs();
    const ClassId id = class_of(1024);
    const uint32_t slots = size_class(id).slots;
    const std::vector<void*> objects = take(id, 4 * slots);
    const auto slab_of = [](const void* p) { return region.granule_of(p); };
    // The first keeps half of its objects, the second one, the third all but one, the fourth none.
    std::vector<void*> back;
    for (uint32_t i = 0; i < slots; ++i) {
      if (i < slots / 2) back.push_back(objects[i]);
      if (i > 0) back.push_back(objects[slots + i]);
      if (i == 0) back.push_back(objects[2 * slots]);
      back.push_back(objects[3 * slots + i]);
    }
    EXPECT(give(id, back) == 0);
    slab_trim();
    EXPECT(row_of(id).slabs == 3);
    EXPECT(slab_of(take(id, 1)[0]) == slab_of(objects[2 * slots]));
    EXPECT(slab_of(take(id, slots / 2)[0]) == slab_of(objects[0]));
    EXPECT(slab_of(take(id, 1)[0]) == slab_of(objects[slots]));
  });
}

TEST_CASE("empty slabs are released without being asked for, but for one") {
  in_fresh_process([] {
    start_slabs();
    const ClassId id = class_of(4096);
    const uint32_t slots = size_class(id).slots;
    EXPECT(give(id, take(id, 40 * slots)) == 0);
    EXPECT(slab_counters().sweeps > 0 && row_of(id).slabs < 10);
    slab_trim();
    EXPECT(row_of(id).slabs == 0);
    EXPECT(slab_trim() == 0);
    PageStatistics pages;
    page_collect(pages);
    EXPECT(pages.slab_run_bytes == 0);
  });
}

TEST_CASE("free pages of sparse slabs are decommitted, live objects keep their content") {
  in_fresh_process([] {
    start_slabs();
    for (const size_t size : {48, 640, 2048, 5120, 20480}) {
      const ClassId id = class_of(size);
      const SizeClass& c = size_class(id);
      const std::vector<void*> objects = take(id, 16 * size_t{c.slots});
      for (void* p : objects) memset(p, 0x5a, c.size);
      // Slabs of which a quarter of the objects at one end live, but for the last, which is dense.
      std::vector<void*> live;
      std::vector<void*> back;
      for (void* p : objects) {
        const uint32_t slot =
            static_cast<uint32_t>(static_cast<char*>(p) -
                                  static_cast<char*>(region.address(region.granule_of(p) & ~(c.slab_granules - 1)))) /
            c.size;
        (slot < c.slots / 4 || p == objects.back() ? live : back).push_back(p);
      }
      EXPECT(give(id, back) == 0);
      const uintptr_t start = address_of(region.address(region.first_granule()));
      const size_t bytes = region.view_limit() - (start - region_view.base);
      const size_t before = os::resident_bytes(start, bytes);
      const size_t given = slab_decommit();
      // Ends of slabs were never touched, so less may go than is given.
      const size_t gone = before - os::resident_bytes(start, bytes);
      EXPECT(gone <= given && gone >= 8 * c.slab_granules * kGranuleBytes / 2);
      EXPECT(slab_decommit() == 0);  // what is gone is not given twice
      for (void* p : live) {
        for (uint32_t i = 0; i < c.size; ++i) EXPECT(static_cast<unsigned char*>(p)[i] == 0x5a);
      }
      // Taken and freed again, the pages may be resident again.
      EXPECT(give(id, take(id, back.size())) == 0);
      EXPECT(slab_counters().decommitted_bytes >= given);
      EXPECT(give(id, live) == 0);
      slab_trim();
    }
  });
}

TEST_CASE("slabs without pages are used last, and give more when more of them comes free") {
  in_fresh_process([] {
    start_slabs();
    const ClassId id = class_of(1024);
    const uint32_t slots = size_class(id).slots;
    const std::vector<void*> objects = take(id, 4 * slots);
    for (void* p : objects) memset(p, 0x5a, 1024);
    const auto slab_of = [](const void* p) { return region.granule_of(p); };
    // The first and the last keep a half of their objects, the second all but one, the third three quarters.
    std::vector<void*> back;
    for (uint32_t i = 0; i < slots / 2; ++i) {
      back.push_back(objects[i]);
      back.push_back(objects[3 * slots + i]);
    }
    back.push_back(objects[slots]);
    back.insert(back.end(), objects.begin() + 2 * slots, objects.begin() + 2 * slots + slots / 4);
    EXPECT(give(id, back) == 0);
    EXPECT(slab_decommit() == 2 * kGranuleBytes / 2);
    EXPECT(slab_of(take(id, 1)[0]) == slab_of(objects[slots]));
    EXPECT(slab_of(take(id, slots / 4)[0]) == slab_of(objects[2 * slots]));
    // All but the last of the first slab's.
    EXPECT(give(id, {objects.begin() + slots / 2, objects.begin() + slots - 1}) == 0);
    EXPECT(slab_decommit() > kGranuleBytes / 4);
    EXPECT(static_cast<unsigned char*>(objects[slots - 1])[0] == 0x5a);
  });
}

TEST_CASE("a slab's granules serve another class afterwards") {
  in_fresh_process([] {
    start_slabs();
    const std::vector<void*> before = take(class_of(16), 1);
    EXPECT(give(class_of(16), before) == 0);
    slab_trim();
    EXPECT(class_at(before[0]) == kNoClass);
    const std::vector<void*> after = take(class_of(32), 1);
    EXPECT(region.granule_of(after[0]) == region.granule_of(before[0]) && class_at(after[0]) == class_of(32));
    EXPECT(row_of(class_of(32)).slots == size_class(class_of(32)).slots);
  });
}

TEST_CASE("memory that is refused means fewer objects, down to none, and no harm") {
  in_fresh_process([] {
    start_slabs();
    const ClassId id = class_of(8192);
    const std::vector<void*> some = take(id, 1);
    static os::MemoryFunctions refusing = os::memory();
    refusing.commit = [](uintptr_t, size_t) { return false; };
    os::set_memory_functions(&refusing);
    void* objects[64];
    size_t total = 1;
    for (size_t n; (n = slab_allocate(id, objects, 64)) != 0;) total += n;
    // The records of a huge block are committed together, so the block that is there already still serves.
    EXPECT(total == size_class(id).slots * (kBlockGranules / size_class(id).slab_granules));
    EXPECT(slab_allocate(class_of(16), objects, 1) == 0);
    EXPECT(give(id, some) == 0);
    EXPECT(slab_allocate(id, objects, 64) == 1 && objects[0] == some[0]);
    page_audit();
  });
}

}  // namespace
