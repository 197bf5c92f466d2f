#include "os/memory.h"

#include <sys/mman.h>

#include <cstring>

#include "base/bits.h"
#include "os/process.h"
#include "tests/unit/fresh_process.h"
#include "tests/window.h"

namespace {

using namespace pm;
using os::memory;

constexpr uintptr_t kPlace = test::kFreePlace;

char* at(uintptr_t address) { return reinterpret_cast<char*>(address); }

TEST_CASE("reserve, commit, decommit, release") {
  const size_t page = os::page_size();
  const uintptr_t start = address_of(memory().reserve(0, 16 * page));
  REQUIRE(start != 0);
  CHECK(os::is_mapped(start, 16 * page));
  REQUIRE(memory().commit(start, 8 * page));
  CHECK(os::resident_bytes(start, 16 * page) == 0);
  for (size_t i = 0; i < 8; ++i) at(start)[i * page] = 1;
  CHECK(os::resident_bytes(start, 16 * page) == 8 * page);

  const os::PageRange ranges[] = {{start, page}, {start + 2 * page, 3 * page}, {start + 7 * page, page}};
  CHECK(memory().decommit(ranges, 3) == 5 * page);
  CHECK(os::resident_bytes(start, 16 * page) == 3 * page);
  for (size_t i = 0; i < 8; ++i) CHECK(at(start)[i * page] == (i == 1 || i == 5 || i == 6 ? 1 : 0));

  memory().release(start, 16 * page);
  CHECK_FALSE(os::is_mapped(start, 16 * page));
}

TEST_CASE("more ranges than one system call takes") {
  const size_t page = os::page_size();
  constexpr size_t kRanges = 300;
  const uintptr_t start = address_of(memory().reserve(0, 2 * kRanges * page));
  REQUIRE(start != 0);
  REQUIRE(memory().commit(start, 2 * kRanges * page));
  static os::PageRange ranges[kRanges];
  for (size_t i = 0; i < kRanges; ++i) {
    ranges[i] = {start + 2 * i * page, page};
    at(start)[2 * i * page] = at(start)[(2 * i + 1) * page] = 1;
  }
  CHECK(memory().decommit(ranges, kRanges) == kRanges * page);
  CHECK(os::resident_bytes(start, 2 * kRanges * page) == kRanges * page);
  memory().release(start, 2 * kRanges * page);
}

TEST_CASE("a range that cannot be decommitted is not counted, the others are") {
  const size_t page = os::page_size();
  const uintptr_t start = address_of(memory().reserve(0, 4 * page));
  REQUIRE(memory().commit(start, 4 * page));
  at(start)[0] = at(start)[3 * page] = 1;
  memory().release(start + page, page);
  const os::PageRange ranges[] = {{start, page}, {start + page, page}, {start + 3 * page, page}};
  CHECK(memory().decommit(ranges, 3) == 2 * page);
  CHECK(os::resident_bytes(start, page) == 0);
  CHECK(os::resident_bytes(start + 3 * page, page) == 0);
}

TEST_CASE("a reservation at a place replaces nothing") {
  pm::test::in_fresh_process([] {
    const size_t page = os::page_size();
    EXPECT(!os::is_mapped(kPlace, 4 * page));
    EXPECT(memory().reserve(kPlace, 2 * page) == at(kPlace));
    EXPECT(memory().commit(kPlace, page));
    at(kPlace)[0] = 42;
    EXPECT(memory().reserve(kPlace, 2 * page) == nullptr);
    EXPECT(memory().reserve(kPlace - page, 2 * page) == nullptr);
    EXPECT(at(kPlace)[0] == 42);
    EXPECT(os::is_mapped(kPlace + page, 4 * page));
    EXPECT(!os::is_mapped(kPlace + 2 * page, page));
  });
}

TEST_CASE("moved pages arrive, and leave zeros behind") {
  const size_t page = os::page_size();
  const uintptr_t start = address_of(memory().reserve(0, 8 * page));
  REQUIRE(memory().commit(start, 8 * page));
  memset(at(start), 5, 3 * page);
  if (!memory().move_pages(start, start + 4 * page, 3 * page)) {
    WARN("this kernel moves no pages");
    return;
  }
  for (size_t i = 0; i < 3 * page; i += 64) {
    if (at(start)[i] != 0 || at(start + 4 * page)[i] != 5) FAIL(i);
  }
  at(start)[0] = 1;
  CHECK(at(start)[0] == 1);
}

TEST_CASE("the functions can be replaced, and put back") {
  static int commits = 0;
  os::MemoryFunctions counting = memory();
  counting.commit = [](uintptr_t, size_t) { return ++commits > 1; };
  os::set_memory_functions(&counting);
  CHECK_FALSE(memory().commit(0, 0));
  CHECK(memory().commit(0, 0));
  os::set_memory_functions(nullptr);
  CHECK(commits == 2);
  CHECK(memory().commit != counting.commit);
}

}  // namespace
