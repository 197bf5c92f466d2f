#include "os/mappings.h"

#include <sys/mman.h>

#include <string>

#include "base/bits.h"
#include "os/process.h"
#include "tests/catch.h"
#include "tests/window.h"

namespace {

using namespace pm;

int variable_of_ours = 1;

TEST_CASE("mappings are found by address") {
  os::Mapping mapping;
  REQUIRE(os::find_mapping(address_of(reinterpret_cast<const void*>(&os::find_mapping)), mapping));
  CHECK(mapping.executable);
  CHECK_FALSE(mapping.writable);
  CHECK(std::string(mapping.name).find("mappings_test") == 0);

  REQUIRE(os::find_mapping(address_of(&variable_of_ours), mapping));
  CHECK(mapping.writable);
  CHECK_FALSE(mapping.executable);
  CHECK(mapping.start <= address_of(&variable_of_ours));
  CHECK(address_of(&variable_of_ours) < mapping.end);

  int local = 0;
  REQUIRE(os::find_mapping(address_of(&local), mapping));
  CHECK(std::string(mapping.name) == "[stack]");
  CHECK_FALSE(os::find_mapping(1, mapping));
}

TEST_CASE("both ends of an anonymous mapping") {
  const size_t page = os::page_size();
  const uintptr_t start = test::kFreePlace;
  void* const p = mmap(reinterpret_cast<void*>(start), 2 * page, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  REQUIRE(p == reinterpret_cast<void*>(start));
  os::Mapping mapping;
  REQUIRE(os::find_mapping(start, mapping));
  CHECK(mapping.start == start);
  CHECK(mapping.end == start + 2 * page);
  CHECK(mapping.name[0] == 0);
  CHECK_FALSE(mapping.writable);
  CHECK(os::find_mapping(start + 2 * page - 1, mapping));
  CHECK_FALSE(os::find_mapping(start + 2 * page, mapping));
  CHECK_FALSE(os::find_mapping(start - 1, mapping));
  munmap(p, 2 * page);
}

TEST_CASE("where two mappings meet, each address has its own") {
  const size_t page = os::page_size();
  const uintptr_t start = test::kFreePlace;
  void* const p = reinterpret_cast<void*>(start);
  REQUIRE(mmap(p, 2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
  REQUIRE(mprotect(p, page, PROT_READ | PROT_WRITE) == 0);
  os::Mapping mapping;
  REQUIRE(os::find_mapping(start + page - 1, mapping));
  CHECK((mapping.start == start && mapping.end == start + page && mapping.writable));
  REQUIRE(os::find_mapping(start + page, mapping));
  CHECK((mapping.start == start + page && mapping.end == start + 2 * page && !mapping.writable));
  munmap(p, 2 * page);
}

TEST_CASE("every mapping comes once, in order, with its file") {
  struct Seen {
    uintptr_t end = 0;
    unsigned count = 0;
    bool in_order = true;
    bool program = false;
    bool stack = false;
  } seen;
  os::each_mapping(
      [](void* context, const os::MappingLine& mapping) {
        auto& s = *static_cast<Seen*>(context);
        s.in_order = s.in_order && s.end <= mapping.start && mapping.start < mapping.end;
        s.end = mapping.end;
        ++s.count;
        const std::string path = mapping.path;
        const uintptr_t code = address_of(reinterpret_cast<const void*>(&os::each_mapping));
        const bool covers = mapping.start <= code && code < mapping.end;
        if (covers) s.program = mapping.executable && !mapping.writable && path[0] == '/' && mapping.file_offset != 0;
        s.stack = s.stack || (path == "[stack]" && mapping.writable && mapping.file_offset == 0);
      },
      &seen);
  CHECK(seen.in_order);
  CHECK(seen.program);
  CHECK(seen.stack);
  CHECK(seen.count > 5);
}

TEST_CASE("mappings are counted") {
  const uint64_t before = os::count_mappings();
  CHECK(before > 5);
  // Not next to each other, so that they do not merge.
  for (uintptr_t i = 0; i < 40; ++i) {
    void* const place = reinterpret_cast<void*>(test::kFreePlace + i * kMiB);
    REQUIRE(mmap(place, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == place);
  }
  CHECK(os::count_mappings() >= before + 40);
}

}  // namespace
