#include "page/table.h"

#include "base/compiler.h"
#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;

struct Record {
  uint64_t words[3];
};

TEST_CASE("records are zero where they are committed, and an edge page may be committed twice") {
  Table<Record> table;
  REQUIRE(table.reserve(100000));
  CHECK(table.reserved_bytes() >= 100000 * sizeof(Record));
  CHECK(table.reserved_bytes() % os::page_size() == 0);
  REQUIRE(table.commit(0, 100));
  CHECK(table[99].words[2] == 0);
  table[99].words[2] = 7;
  REQUIRE(table.commit(100, 1));
  REQUIRE(table.commit(99, 2));
  CHECK(table[99].words[2] == 7);
  CHECK(table[100].words[0] == 0);
  REQUIRE(table.commit(99999, 1));
  CHECK(table[99999].words[2] == 0);
}

TEST_CASE("what is not committed is neither touched nor resident") {
  Table<Record> table;
  REQUIRE(table.reserve(1000000));
  CHECK(os::resident_bytes(table.start(), table.reserved_bytes()) == 0);
  REQUIRE(table.commit(500000, 1));
  table[500000].words[0] = 1;
  CHECK(os::resident_bytes(table.start(), table.reserved_bytes()) == os::page_size());
  CHECK(table.resident_bytes() == os::page_size());
  // A run over several parts, and the last record.
  REQUIRE(table.commit(100'000, 100'000));
  for (size_t i = 100'000; i < 200'000; ++i) table[i].words[0] = 1;
  REQUIRE(table.commit(999'999, 1));
  table[999'999].words[0] = 1;
  CHECK(table.resident_bytes() >= 100'000 * sizeof(Record) + 2 * os::page_size());
  CHECK(table.resident_bytes() == os::resident_bytes(table.start(), table.reserved_bytes()));
#if !PM_SANITIZED
  const test::Outcome outcome = test::run_in_child([&] { table[0].words[0] = 1; });
  CHECK(WIFSIGNALED(outcome.status));
#endif
}

TEST_CASE("an address space that is refused is reported") {
  static const os::MemoryFunctions kernel = os::memory();
  os::MemoryFunctions refusing = kernel;
  refusing.reserve = [](uintptr_t, size_t) -> void* { return nullptr; };
  os::set_memory_functions(&refusing);
  Table<Record> table;
  const bool reserved = table.reserve(10);
  os::set_memory_functions(nullptr);
  CHECK_FALSE(reserved);
}

TEST_CASE("clearing zeroes what was asked for and no neighbour") {
  constexpr size_t kCount = 10'000;
  Table<uint64_t> table;
  REQUIRE(table.reserve(kCount));
  REQUIRE(table.commit(0, kCount));
  const size_t ranges[][2] = {{3, 5}, {100, 2000}, {512, 512}, {5000, 4999}, {9999, 1}};
  for (const auto& range : ranges) {
    for (size_t i = 0; i < kCount; ++i) table[i] = i + 1;
    table.clear(range[0], range[1]);
    size_t wrong = 0;
    for (size_t i = 0; i < kCount; ++i) {
      const bool cleared = i >= range[0] && i < range[0] + range[1];
      wrong += table[i] != (cleared ? 0 : i + 1);
    }
    CHECK(wrong == 0);
  }
  table.release();
}

}  // namespace
