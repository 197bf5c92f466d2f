#include "slab/slab_record.h"

#include <vector>

#include "tests/catch.h"

namespace {

using namespace pm;

template <typename T>
using StdAtomic = std::atomic<T>;
using Core = SlabCore<StdAtomic, 4>;

std::vector<uint32_t> take(Core& core, uint32_t wanted) {
  std::vector<uint32_t> slots;
  const uint32_t taken = core.take(wanted, [&](unsigned word, uint64_t mask) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      if ((mask >> bit & 1U) != 0) slots.push_back(word * 64 + bit);
    }
  });
  CHECK(taken == slots.size());
  return slots;
}

Core::Put put(Core& core, uint32_t slot) { return core.put(slot / 64, uint64_t{1} << (slot % 64)); }

TEST_CASE("slots come lowest first, over the words, and only those that exist") {
  Core core;
  core.create(70);
  CHECK(core.state() == SlabState::active);
  CHECK(core.words() == 2);
  CHECK(core.is_empty());
  CHECK(core.free_slots() == 70);
  const std::vector<uint32_t> first = take(core, 3);
  CHECK((first == std::vector<uint32_t>{0, 1, 2}));
  CHECK(take(core, 100).back() == 69);
  CHECK(core.free_slots() == 0);
  CHECK(take(core, 1).empty());
  CHECK_FALSE(core.is_free(69));
}

TEST_CASE("a slab that is not used up is partial, one that is becomes full") {
  Core core;
  core.create(10);
  take(core, 9);
  CHECK(core.leave());
  CHECK(core.state() == SlabState::partial);
  core.hold();
  CHECK(core.state() == SlabState::active);
  take(core, 1);
  CHECK_FALSE(core.leave());
  CHECK(core.state() == SlabState::full);
}

TEST_CASE("the first free of a full slab revives it, later ones do not") {
  Core core;
  core.create(10);
  take(core, 10);
  CHECK_FALSE(core.leave());
  CHECK(put(core, 4).revived);
  CHECK(core.state() == SlabState::partial);
  CHECK_FALSE(put(core, 5).revived);
  CHECK(core.is_free(4));
  CHECK_FALSE(core.is_free(6));
}

TEST_CASE("a free while the slab is held leaves it to the holder") {
  Core core;
  core.create(10);
  take(core, 10);
  CHECK_FALSE(put(core, 3).revived);
  CHECK(core.state() == SlabState::active);
  CHECK(core.leave());
}

TEST_CASE("a slot that is free already is a double free, and stays as it was") {
  Core core;
  core.create(128);
  take(core, 128);
  CHECK_FALSE(core.put(1, 0xf0).double_free);
  CHECK(core.put(1, 0x10).double_free);
  CHECK(core.put(1, 0x18).double_free);
  CHECK(core.free_slots() == 5);
}

TEST_CASE("all slots back: empty, and a new life may have another shape") {
  Core core;
  core.create(100);
  for (const uint32_t slot : take(core, 100)) put(core, slot);
  CHECK(core.word_is_full(0));
  CHECK(core.word_is_full(1));
  CHECK(core.is_empty());
  core.destroy();
  CHECK(core.state() == SlabState::none);
  core.create(64);
  CHECK(core.words() == 1);
  CHECK(core.is_empty());
  CHECK(take(core, 200).size() == 64);
}

}  // namespace
