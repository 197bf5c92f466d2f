#include "slab/size_class.h"

#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;

uint32_t class_count() { return class_table->count; }

void expect_every_size_has_its_smallest_class() {
  for (size_t size = 0; size <= kMaxClassSize; ++size) {
    const ClassId id = class_of(size);
    EXPECT(id != kNoClass && id < class_count());
    EXPECT(size_class(id).size >= size);
    EXPECT(id == 1 || size_class(static_cast<ClassId>(id - 1)).size < size);
  }
}

void expect_shapes_are_sound() {
  for (uint32_t i = 1; i < class_count(); ++i) {
    const SizeClass& c = size_class(static_cast<ClassId>(i));
    EXPECT(c.size % kSizeStep == 0);
    EXPECT(is_power_of_two(c.slab_granules) && c.slab_granules <= kMaxSlabGranules);
    const size_t bytes = c.slab_granules * kGranuleBytes;
    EXPECT(c.slots == bytes / c.size && c.slots >= 8 && c.slots <= kMaxSlots);
    EXPECT(c.slab_granules == kMaxSlabGranules || bytes % c.size <= bytes / 16);
    EXPECT(c.batch >= 1 && c.batch <= 64);
    EXPECT(c.magazine_max >= 2 && c.magazine_max <= 8192);
  }
}

// Every address that a slab has, its tail included: the slot it lies in.
void expect_slots_are_exact() {
  for (uint32_t i = 1; i < class_count(); ++i) {
    const SizeClass& c = size_class(static_cast<ClassId>(i));
    const auto bytes = static_cast<uint32_t>(c.slab_granules * kGranuleBytes);
    for (uint32_t offset = 0; offset < bytes; ++offset) {
      if (slot_of(c, offset) != offset / c.size) EXPECT(false && "slot_of is exact");
    }
  }
}

// The test by one multiplication, as in rseq_push_checked.
bool may_be_start(ClassId id, uint32_t offset) {
  const uint32_t divisor = class_table->divisor[id];
  return offset * divisor < divisor;
}

void expect_divisors_are_exact() {
  for (uint32_t i = 1; i < class_count(); ++i) {
    const auto id = static_cast<ClassId>(i);
    const SizeClass& c = size_class(id);
    for (uint32_t offset = 0; offset < kGranuleBytes; ++offset) {
      const bool exact = c.slab_granules == 1 && offset % c.size == 0;
      if (may_be_start(id, offset) != exact) EXPECT(false && "the divisor test is exact");
    }
  }
}

void expect_everything() {
  expect_every_size_has_its_smallest_class();
  expect_shapes_are_sound();
  expect_slots_are_exact();
  expect_divisors_are_exact();
}

TEST_CASE("the classes that everybody has") {
  pm::test::in_fresh_process(expect_everything);
  CHECK(class_table == &kDefaultClasses);
  CHECK(size_class(1).size == 16);
  CHECK(size_class(static_cast<ClassId>(class_count() - 1)).size == kMaxClassSize);
}

TEST_CASE("slack is at most an eighth, or 15 bytes") {
  for (size_t size = 1; size <= kMaxClassSize; ++size) {
    const size_t object = size_class(class_of(size)).size;
    const size_t slack = object - size;
    if (slack >= kSizeStep && slack * 8 > object) FAIL(size << " bytes lie in " << object);
  }
}

TEST_CASE("classes that a user adds") {
  pm::test::in_fresh_process([] {
    static ClassTable storage;
    // 200 is rounded to 208; 64 is there; 0, the too large one and the repetition are skipped.
    const uint32_t sizes[] = {200, 72, 64, 1000, 30000, 0, 200 * 1024, 1000, 24};
    const uint32_t before = class_count();
    add_size_classes(sizes, 9, storage);
    EXPECT(class_table == &storage);
    EXPECT(size_class(class_of(200)).size == 208);
    EXPECT(size_class(class_of(193)).size == 208);
    EXPECT(size_class(class_of(192)).size == 192);
    EXPECT(size_class(class_of(1000)).size == 1008);
    EXPECT(size_class(class_of(30000)).size == 30000);
    // 1008 and 30000 are new; 208 was there, and so were 80 and 32, which 72 and 24 become.
    EXPECT(class_count() == before + 2);
    expect_everything();
  });
}

TEST_CASE("more classes than there is room for are left out") {
  pm::test::in_fresh_process([] {
    static ClassTable storage;
    uint32_t sizes[128];
    for (uint32_t i = 0; i < 128; ++i) sizes[i] = 16 * (2 * i + 1) + 8192;
    add_size_classes(sizes, 128, storage);
    EXPECT(class_count() == kMaxClasses);
    expect_everything();
  });
}

TEST_CASE("what an object takes of its slab") {
  CHECK(slab_room(64) == 64);
  CHECK(slab_room(1152) == 1171);  // 56 in 64 KiB, and 1024 bytes behind them
  for (unsigned id = 1; id < class_count(); ++id) {
    const SizeClass& c = size_class(static_cast<ClassId>(id));
    const uint64_t slab = uint64_t{c.slab_granules} * kGranuleBytes;
    CHECK(uint64_t{slab_room(c.size)} * c.slots >= slab);
    CHECK(uint64_t{slab_room(c.size) - 1} * c.slots < slab);
  }
}

TEST_CASE("the smallest class that is aligned") {
  for (size_t alignment = 16; alignment <= kGranuleBytes; alignment *= 2) {
    for (size_t size = 1; size <= kMaxClassSize; size += size < 4096 ? 1 : 509) {
      const ClassId id = aligned_class_of(size, alignment);
      ClassId expected = kNoClass;
      for (uint32_t i = class_count() - 1; i > 0; --i) {
        const size_t object = size_class(static_cast<ClassId>(i)).size;
        if (object >= size && object % alignment == 0) expected = static_cast<ClassId>(i);
      }
      if (id != expected) FAIL(size << " aligned to " << alignment);
    }
  }
  CHECK(aligned_class_of(kMaxClassSize + 1, 16) == kNoClass);
  CHECK(aligned_class_of(16, 2 * kMaxClassSize) == kNoClass);
  CHECK(aligned_class_of(SIZE_MAX, 16) == kNoClass);
}

}  // namespace
