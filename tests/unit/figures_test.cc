#include "reclaim/figures.h"

#include "tests/catch.h"

namespace {

using namespace pm;

TEST_CASE("what comes free in slabs is sparse, what was free at the least is not") {
  SlabFree slots;
  slots.update(100, 0);
  CHECK(slots.sparse_bytes() == 0);
  slots.update(160, 0);
  CHECK(slots.sparse_bytes() == 60);
  slots.update(80, 0);
  CHECK(slots.sparse_bytes() == 0);
  slots.update(90, 0);
  CHECK(slots.sparse_bytes() == 10);
  CHECK(slots.free_bytes() == 90);
  CHECK(slots.hollow_bytes() == 0);
}

TEST_CASE("what was decommitted inside slabs is neither sparse nor in use, until its slots are") {
  SlabFree slots;
  slots.update(20, 0);
  slots.update(100, 0);
  CHECK(slots.sparse_bytes() == 80);
  slots.update(100, 50);
  CHECK(slots.hollow_bytes() == 50);
  CHECK(slots.sparse_bytes() == 30);
  slots.update(100, 70);
  CHECK(slots.hollow_bytes() == 70);
  CHECK(slots.sparse_bytes() == 10);
  // Slots whose pages are there go first.
  slots.update(75, 70);
  CHECK(slots.hollow_bytes() == 70);
  CHECK(slots.sparse_bytes() == 0);
  slots.update(40, 70);
  CHECK(slots.hollow_bytes() == 40);
  CHECK(slots.sparse_bytes() == 0);
  // What comes free now is resident.
  slots.update(90, 70);
  CHECK(slots.hollow_bytes() == 40);
  CHECK(slots.sparse_bytes() == 50);
  slots.update(90, 200);
  CHECK(slots.hollow_bytes() == 90);
  CHECK(slots.sparse_bytes() == 0);
}

TEST_CASE("what could not be decommitted is not sparse again") {
  SlabFree slots;
  slots.update(10, 0);
  slots.update(50, 0);
  slots.note_exhausted();
  slots.update(50, 30);
  CHECK(slots.sparse_bytes() == 0);
  slots.update(60, 30);
  CHECK(slots.sparse_bytes() == 10);
  CHECK(slots.hollow_bytes() == 30);
}

}  // namespace
