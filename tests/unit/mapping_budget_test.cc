#include "page/mapping_budget.h"

#include "heap/heap.h"
#include "os/mappings.h"
#include "os/process.h"
#include "page/page.h"
#include "runtime/runtime.h"
#include "tests/unit/fresh_process.h"
#include "tests/unit/memory_script.h"

namespace {

using namespace pm;
using pm::test::script;

TEST_CASE("mappings are granted up to 70 % of the limit, the program's own included") {
  script = {};
  script.max_map_count = 2000;
  script.mappings = 400;
  test::follow_script();
  MappingBudget budget;
  unsigned granted = 0;
  // The process has what it had before, and what was granted.
  while (budget.take(2)) script.mappings = 400 + 2 * ++granted;
  CHECK(400 + 2 * granted == 1400);
  CHECK(budget.refusals() == 1);
  CHECK(budget.estimate() == 1400);
  // Far fewer counts than grants.
  CHECK(script.counts < 25);
}

TEST_CASE("a program that maps much itself leaves none") {
  script = {};
  script.max_map_count = 1000;
  script.mappings = 701;
  test::follow_script();
  MappingBudget budget;
  CHECK_FALSE(budget.take(1));
  CHECK(budget.refusals() == 1);
}

TEST_CASE("what the program maps meanwhile comes out long before the limit") {
  script = {};
  script.max_map_count = 10'000;
  test::follow_script();
  MappingBudget budget;
  REQUIRE(budget.take(2));
  script.mappings = 8'000;
  unsigned granted = 0;
  while (budget.take(2)) ++granted;
  CHECK(granted * 2 < 7'000 / 8 + 20);
}

TEST_CASE("what was not used goes back") {
  script = {};
  script.max_map_count = 1000;
  script.mappings = 690;
  test::follow_script();
  MappingBudget budget;
  REQUIRE(budget.take(10));
  CHECK_FALSE(budget.take(2));
  budget.give_back(10);
  CHECK(budget.take(2));
}

TEST_CASE("after a refusal by the system nothing is granted for a while") {
  script = {};
  test::follow_script();
  MappingBudget budget;
  REQUIRE(budget.take(2));
  CHECK(budget.estimate() == 102);
  budget.note_refusal(2);
  CHECK(budget.estimate() == 100);
  CHECK_FALSE(budget.take(2));
  CHECK(budget.refusals() == 2);
}

// Real mappings, split by real advice and real moves; only the limit is a fiction, and so is the kernel's mode.
TEST_CASE("a program that allocates, resizes and trims objects of all sizes stays below the limit") {
  test::in_fresh_process([] {
    os::set_memory_functions(nullptr);
    static os::MemoryFunctions limited = os::memory();
    limited.max_map_count = [] { return uint64_t{1000}; };
    limited.huge_policy = [] { return os::HugePolicy::always; };
    os::set_memory_functions(&limited);
    setenv("POOLMALLOC_HUGE", "auto", 1);
    setenv("POOLMALLOC_WORKER", "off", 1);
    if (!start_heap()) return;  // a sanitizer's allocator serves
    const void* const here = reinterpret_cast<const void*>(&trim_heap);
    constexpr unsigned kObjects = 500;
    static char* objects[kObjects];
    uint64_t state = 1;
    uint64_t most = 0;
    for (unsigned i = 0; i < 20'000; ++i) {
      char*& p = objects[next_random(&state) % kObjects];
      const size_t bytes = (size_t{1} << (next_random(&state) % 2 != 0 ? 20 : 6 + next_random(&state) % 16)) +
                           next_random(&state) % (512 * kKiB);
      if (p == nullptr) {
        p = static_cast<char*>(allocate(bytes));
      } else if (next_random(&state) % 3 == 0) {
        deallocate(p, here);
        p = nullptr;
        continue;
      } else {
        p = static_cast<char*>(reallocate(p, bytes, here));
      }
      EXPECT(p != nullptr);
      p[0] = p[bytes - 1] = 1;
      // Clean memory is what objects are moved to.
      if (i % 50 == 0) page_trim(SIZE_MAX);
      if (i % 100 != 0) continue;
      const uint64_t now = os::count_mappings();
      most = now > most ? now : most;
    }
    PageStatistics statistics;
    page_collect(statistics);
    // The limit was felt, and kept.
    EXPECT(statistics.moves > 100 && statistics.mapping_refusals > 0);
    EXPECT(most <= 750);
  });
}

}  // namespace
