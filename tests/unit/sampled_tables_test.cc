#include <set>
#include <thread>
#include <vector>

#include "page/page.h"
#include "profile/samples.h"
#include "profile/sites.h"
#include "profile/slots.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;

TEST_CASE("a site is its stack and its size") {
  SiteTable sites;
  REQUIRE(sites.reserve(100, 1000));
  const uintptr_t stack[] = {1, 2, 3};
  const uintptr_t other[] = {1, 2, 4};
  bool added = false;
  const uint32_t first = sites.find_or_add(stack, 3, 5, added);
  CHECK(added);
  CHECK(sites.find_or_add(stack, 3, 5, added) == first);
  CHECK(!added);
  const std::set<uint32_t> all = {first, sites.find_or_add(stack, 2, 5, added), sites.find_or_add(stack, 3, 6, added),
                                  sites.find_or_add(other, 3, 5, added), sites.find_or_add(stack, 0, 5, added)};
  CHECK(all.size() == 5);
  CHECK(sites.stack_of(sites[first])[2] == 3);
}

TEST_CASE("what does not fit is refused, what is there is found") {
  for (const bool few_sites : {true, false}) {
    SiteTable sites;
    REQUIRE(sites.reserve(few_sites ? 10 : 1000, few_sites ? 1000 : 30));
    bool added = false;
    for (uintptr_t i = 0; i < 20; ++i) {
      const uintptr_t stack[] = {i, i, i};
      CHECK((sites.find_or_add(stack, 3, 1, added) != kNoSite) == (i < 10));
    }
    const uintptr_t stack[] = {7, 7, 7};
    CHECK(sites.find_or_add(stack, 3, 1, added) != kNoSite);
    CHECK(sites.count() == 10);
  }
}

TEST_CASE("threads that add the same sites agree on them") {
  constexpr unsigned kThreads = 4;
  constexpr uintptr_t kSites = 2000;
  SiteTable sites;
  REQUIRE(sites.reserve(kThreads * kSites, kThreads * kSites * 2));
  std::vector<std::vector<uint32_t>> found(kThreads);
  std::atomic<unsigned> additions{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uintptr_t i = 0; i < kSites; ++i) {
        const uintptr_t stack[] = {i, i * i};
        bool added = false;
        found[t].push_back(sites.find_or_add(stack, 2, 1, added));
        if (added) ++additions;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(additions == kSites);
  for (unsigned t = 1; t < kThreads; ++t) CHECK(found[t] == found[0]);
  for (uintptr_t i = 0; i < kSites; ++i) CHECK(sites.stack_of(sites[found[0][i]])[1] == i * i);
}

TEST_CASE("sizes share a site within a quarter of a doubling") {
  uint16_t before = 0;
  unsigned keys = 0;
  for (uint64_t size = kMaxClassSize + 1; size < kMaxClassSize * 16; size += 4096) {
    const uint16_t key = size_key(size);
    CHECK(key >= before);
    if (key != before) ++keys;
    before = key;
  }
  CHECK(keys == 16);
  CHECK(size_key(64) == class_of(64));
  CHECK(size_key(uint64_t{1} << 47) < UINT16_MAX);
}

TEST_CASE("samples are found by address until they are removed") {
  SampleTable samples;
  REQUIRE(samples.reserve(1000));
  for (uintptr_t i = 1; i <= 1000; ++i) CHECK(samples.add({i * 16, i, 1, 1, 0, 0}));
  CHECK(!samples.add({16 * 2000, 0, 1, 1, 0, 0}));
  LiveSample out;
  for (uintptr_t i = 1; i <= 1000; i += 2) {
    REQUIRE(samples.remove(i * 16, out));
    CHECK(out.time_ns == i);
    CHECK(!samples.remove(i * 16, out));
  }
  CHECK(samples.count() == 500);
  unsigned seen = 0;
  samples.each([&](const LiveSample& sample) { seen += sample.time_ns % 2 == 0 ? 1 : 1000; });
  CHECK(seen == 500);
  CHECK(samples.add({16, 0, 1, 1, 0, 0}));
}

// Runs as profile.cc gets them.
struct Slots {
  SampledSlots slots;
  void* take(ClassId id) {
    void* p = slots.take(id);
    if (p != nullptr) return p;
    bool clean = false;
    const uint32_t granules = SampledSlots::granules_for(id);
    const SampledSlots::Extent extent = {allocate_slab_run(granules, &clean), granules};
    EXPECT(extent.first != kNoGranule && slots.prepare(extent) && slots.add(extent, id));
    return slots.take(id);
  }
  bool give(void* p, SampledSlots::Keep keep) {
    SampledSlots::Extent out;
    if (!slots.give(slots.find(p), keep, out)) return false;
    release_slab_run(out.first, out.granules);
    return true;
  }
};

TEST_CASE("slots of every class: apart, aligned, found, and given back") {
  test::in_fresh_process([] {
    test::start_slabs();
    Slots all;
    EXPECT(all.slots.reserve(2000));
    for (unsigned c = 1; c < class_table->count; ++c) {
      const auto id = static_cast<ClassId>(c);
      const uint32_t size = size_class(id).size;
      std::set<void*> objects;
      const unsigned count = 2 * static_cast<unsigned>(kGranuleBytes / size) + 3;
      for (unsigned i = 0; i < count; ++i) {
        void* const p = all.take(id);
        EXPECT(p != nullptr && address_of(p) % (size & -size) == 0 && class_at(p) == kNoClass);
        EXPECT(region.extent(region.granule_of(p)).sampled == Sampled::slots);
        const auto next = objects.lower_bound(p);
        EXPECT(next == objects.end() || static_cast<char*>(p) + size <= *next);
        EXPECT(next == objects.begin() || static_cast<char*>(*std::prev(next)) + size <= p);
        objects.insert(p);
        SampledSlots::Place place = all.slots.find(p);
        EXPECT(place.exact && !place.is_free && place.object == p && place.id == id);
        place = all.slots.find(static_cast<char*>(p) + size - 1);
        EXPECT(!place.exact && place.object == p);
      }
      all.slots.audit();
      unsigned gone = 0;
      for (void* const p : objects) gone += all.give(p, SampledSlots::Keep::last) ? 1 : 0;
      SampledSlots::Extent last;
      EXPECT(gone >= 2 && all.slots.take_empty(last) && !all.slots.take_empty(last));
      release_slab_run(last.first, last.granules);
    }
    static SlabClassStatistics rows[kMaxClasses];
    all.slots.collect(rows);
    for (const SlabClassStatistics& row : rows) EXPECT(row.slabs == 0);
    page_audit();
  });
}

TEST_CASE("what is put off is freed by the next who may") {
  test::in_fresh_process([] {
    test::start_slabs();
    Slots all;
    EXPECT(all.slots.reserve(10));
    void* const p = all.take(class_of(64));
    void* const q = all.take(class_of(64));
    EXPECT(all.slots.put_off(all.slots.find(p)) && !all.slots.put_off(all.slots.find(p)));
    EXPECT(all.slots.find(p).is_free && !all.slots.find(q).is_free && all.slots.has_put_off());
    unsigned settled = 0;
    all.slots.each_put_off([&](const SampledSlots::Place& place) {
      EXPECT(all.slots.address(place) == p);
      SampledSlots::Extent kept;
      EXPECT(!all.slots.give(place, SampledSlots::Keep::always, kept));
      ++settled;
    });
    EXPECT(settled == 1 && !all.slots.has_put_off() && all.slots.find(p).is_free);
    EXPECT(all.take(class_of(64)) == p);
  });
}

}  // namespace
