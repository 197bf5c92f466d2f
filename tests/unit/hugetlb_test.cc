#include "page/hugetlb.h"

#include <algorithm>
#include <cstring>

#include "page/huge_blocks.h"
#include "page/page.h"
#include "tests/unit/fresh_process.h"
#include "tests/unit/memory_script.h"
#include "tests/window.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;
using pm::test::script;

void start(size_t pool) {
  script.hugetlb_pool = pool;
  test::follow_script();
  EXPECT(page_init({.reserve_bytes = 8 * kGiB, .dirty_bytes = 0, .huge = HugeMode::hugetlb}));
  region.set_strict(true);
  test::place_window();
}

void free_at(void* p) {
  void* start = nullptr;
  EXPECT(free_large(p, &start) == FreeLarge::done);
}

uint32_t block_of(const void* p) { return region.granule_of(p) / kBlockGranules; }

TEST_CASE("chunks come from the pool while it lasts, then from ordinary memory, with one line") {
  const test::Outcome outcome = test::run_in_child([] {
    start(3 * kBlockBytes);
    char* const p = static_cast<char*>(allocate_large(2 * kBlockBytes, 16, false));
    EXPECT(has_huge_bits(block_of(p), kIsHugetlb) && hugetlb_pages.bytes() == 2 * kBlockBytes);
    EXPECT(hugetlb_pages.fallbacks() == 0);
    char* const q = static_cast<char*>(allocate_large(2 * kBlockBytes, 16, false));
    EXPECT(!has_huge_bits(block_of(q), kIsHugetlb) && hugetlb_pages.fallbacks() == 1);
    memset(q, 1, 2 * kBlockBytes);
    allocate_large(2 * kBlockBytes, 16, false);
    EXPECT(hugetlb_pages.fallbacks() == 2 && hugetlb_pages.bytes() == 2 * kBlockBytes);
    EXPECT(script.huge.empty());
  });
  CHECK(outcome.status == 0);
  CHECK(outcome.output.find("poolmalloc: no hugetlbfs pages for 4") == 0);
  CHECK(std::count(outcome.output.begin(), outcome.output.end(), '\n') == 1);
}

TEST_CASE("whole pages go back to the pool, and ordinary memory takes their place") {
  in_fresh_process([] {
    start(4 * kBlockBytes);
    // Half a block, two and a half; half of the fourth stays free.
    char* const head = static_cast<char*>(allocate_large(kBlockBytes / 2, 16, false));
    char* const p = static_cast<char*>(allocate_large(5 * kBlockBytes / 2, 16, false));
    EXPECT(p == head + kBlockBytes / 2 || address_of(p) % kBlockBytes == 0);
    memset(p, 1, 5 * kBlockBytes / 2);
    const size_t before = hugetlb_pages.bytes();
    free_at(p);
    const size_t given = page_trim(SIZE_MAX);
    EXPECT(given == 2 * kBlockBytes);
    EXPECT(!script.replaced.empty() && script.decommitted.empty());
    for (const auto& range : script.replaced) EXPECT(range.start % kBlockBytes == 0 && range.bytes == kBlockBytes);
    // And a third that nobody has touched.
    EXPECT(hugetlb_pages.bytes() == before - 3 * kBlockBytes);
    // What is left of it stays dirty, and whatever is handed out for zero is zero.
    PageStatistics now;
    page_collect(now);
    EXPECT(now.dirty_bytes == kBlockBytes / 2);
    char* const q = static_cast<char*>(allocate_large(5 * kBlockBytes / 2, 16, true));
    for (size_t i = 0; i < 5 * kBlockBytes / 2; ++i) EXPECT(q[i] == 0);
    page_audit();
  });
}

TEST_CASE("runs between slabs on pages of hugetlbfs stay") {
  in_fresh_process([] {
    start(4 * kBlockBytes);
    bool clean = false;
    const GranuleIndex a = allocate_slab_run(4, &clean);
    allocate_slab_run(1, &clean);
    release_slab_run(a, 4);
    EXPECT(page_trim(SIZE_MAX) == 0 && script.replaced.empty() && script.decommitted.empty());
    EXPECT(!prepare_inner_decommit(a, 1));
  });
}

TEST_CASE("pages of a gibibyte serve what holds whole ones") {
  in_fresh_process([] {
    script.gigantic = true;
    start(4 * kGiB);
    char* const p = static_cast<char*>(allocate_large(3 * kGiB, 16, false));
    uint32_t gigantic = 0;
    uint32_t rest = 0;
    for (uint32_t b = block_of(p); b < block_of(p) + 3 * kGiganticBlocks; ++b) {
      gigantic += has_huge_bits(b, kIsGigantic);
      rest += has_huge_bits(b, kIsHugetlb);
    }
    EXPECT(gigantic >= 2 * kGiganticBlocks && gigantic % kGiganticBlocks == 0);
    EXPECT(gigantic + rest == 3 * kGiganticBlocks);
    // Only whole ones go.
    free_at(p);
    page_trim(SIZE_MAX);
    for (const auto& range : script.replaced) EXPECT(range.bytes == kBlockBytes || range.bytes == kGiB);
    EXPECT(hugetlb_pages.bytes() == 0);
    page_audit();
  });
}

TEST_CASE("what lies there is not moved") {
  in_fresh_process([] {
    start(64 * kBlockBytes);
    void* const p = allocate_large(4 * kBlockBytes, 16, false);
    allocate_large(1, 16, false);
    // Copied instead.
    EXPECT(move_large(p, 8 * kBlockBytes) != nullptr && large_moves() == 0);
  });
}

// With the kernel's own functions: needs a pool.
TEST_CASE("on the pool of this machine") {
  const test::Outcome outcome = test::run_in_child([] {
    EXPECT(page_init({.reserve_bytes = kGiB, .dirty_bytes = 0, .huge = HugeMode::hugetlb}));
    region.set_strict(true);
    test::place_window();
    char* const p = static_cast<char*>(allocate_large(kBlockBytes, 16, false));
    if (hugetlb_pages.bytes() == 0) _exit(77);
    memset(p, 1, kBlockBytes);
    free_at(p);
    EXPECT(page_trim(SIZE_MAX) == kBlockBytes && hugetlb_pages.bytes() == 0);
    char* const q = static_cast<char*>(allocate_large(kBlockBytes, 16, true));
    EXPECT(q == p);
    for (size_t i = 0; i < kBlockBytes; ++i) EXPECT(q[i] == 0);
    memset(q, 2, kBlockBytes);
  });
  if (WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 77) {
    WARN("no hugetlbfs pages are reserved here (vm.nr_hugepages)");
    CHECK(outcome.output.find("using ordinary pages") != std::string::npos);
    return;
  }
  INFO(outcome.output);
  CHECK(outcome.status == 0);
}

}  // namespace
