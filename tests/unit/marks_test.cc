#include "reclaim/marks.h"

#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kMiB = 1 << 20;

TEST_CASE("without a limit there is no mark") {
  const Marks marks = marks_of({100 * kMiB, 0, 200 * kMiB, kNoMark, false});
  CHECK(marks.kick == kNoMark);
  CHECK(marks.limit == kNoMark);
}

TEST_CASE("the room is what the limit leaves, less a little") {
  const Marks marks = marks_of({100 * kMiB, 0, 200 * kMiB, 640 * kMiB, false});
  CHECK(marks.limit == 100 * kMiB + 430 * kMiB);
  CHECK(marks.kick == 100 * kMiB + 430 * kMiB / 4);
  // What was handed out and not touched yet takes room.
  CHECK(marks_of({100 * kMiB, 30 * kMiB, 200 * kMiB, 640 * kMiB}).limit == 500 * kMiB);
}

TEST_CASE("of a shared limit's room a quarter is ours until the next look") {
  const Marks alone = marks_of({100 * kMiB, 0, 200 * kMiB, 640 * kMiB, false});
  const Marks shared = marks_of({100 * kMiB, 0, 200 * kMiB, 640 * kMiB, true});
  CHECK(shared.limit - 100 * kMiB == (alone.limit - 100 * kMiB) / 4);
  CHECK(shared.kick - 100 * kMiB == (alone.kick - 100 * kMiB) / 4);
}

TEST_CASE("over the limit there is none") {
  const Marks marks = marks_of({100 * kMiB, 0, 700 * kMiB, 640 * kMiB, false});
  CHECK(marks.limit == 100 * kMiB);
  CHECK(marks.kick == 100 * kMiB);
}

TEST_CASE("what somebody waits to touch is over the mark as far as it does not fit") {
  // A limit of 630 after what is kept back; 620 are used, and of 30 that wait 20 do not fit.
  const Marks marks = marks_of({100 * kMiB, 30 * kMiB, 620 * kMiB, 640 * kMiB, true, 30 * kMiB});
  CHECK(marks.limit == 80 * kMiB);
  CHECK(marks.kick == 80 * kMiB);
  // What is in use already stays admitted, however far over the limit usage is.
  CHECK(marks_of({100 * kMiB, 30 * kMiB, 900 * kMiB, 640 * kMiB, true, 30 * kMiB}).limit == 70 * kMiB);
  CHECK(marks_of({100 * kMiB, 30 * kMiB, 600 * kMiB, 640 * kMiB, false, 30 * kMiB}).limit == 100 * kMiB);
}

TEST_CASE("memory taken into use counts until it is touched, or long untouched") {
  PendingTouch pending;
  CHECK(pending.update(100 * kMiB, 50 * kMiB) == 0);  // what was before is not known
  CHECK(pending.update(200 * kMiB, 50 * kMiB) == 100 * kMiB);
  CHECK(pending.update(200 * kMiB, 90 * kMiB) == 10 * kMiB);
  CHECK(pending.update(200 * kMiB, 150 * kMiB) == 0);
  CHECK(pending.update(300 * kMiB, 150 * kMiB) == 100 * kMiB);
  uint64_t left = 0;
  for (int i = 0; i < 30; ++i) left = pending.update(300 * kMiB, 150 * kMiB);
  CHECK(left == 0);
}

TEST_CASE("the heap is tidied each time it has grown by a sixteenth") {
  CHECK(tidy_mark_of(160 * kMiB) == 170 * kMiB);
  CHECK(tidy_mark_of(4 * kMiB) == 6 * kMiB);
  CHECK(tidy_mark_of(0) > 0);
}

}  // namespace
