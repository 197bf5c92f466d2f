#include "page/collapse.h"

#include <cstring>

#include "os/process.h"
#include "page/huge_blocks.h"
#include "page/page.h"
#include "page/shard.h"
#include "tests/unit/fresh_process.h"
#include "tests/unit/memory_script.h"
#include "tests/window.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;
using pm::test::script;

constexpr CollapseBudget kAtOnce = {.blocks = UINT32_MAX, .nanoseconds = UINT64_MAX, .at_once = true};
constexpr CollapseBudget kInTime = {.blocks = UINT32_MAX, .nanoseconds = UINT64_MAX, .at_once = false};

void start(HugeMode mode = HugeMode::collapse) {
  test::follow_script();
  EXPECT(page_init({.reserve_bytes = kGiB, .dirty_bytes = 0, .huge = mode}));
  region.set_strict(true);
  test::place_window();
}

GranuleIndex take_run(uint32_t granules) {
  bool clean = false;
  const GranuleIndex run = allocate_slab_run(granules, &clean);
  EXPECT(run != kNoGranule);
  return run;
}

uint32_t block_of(GranuleIndex g) { return g / kBlockGranules; }

// A huge block full of slabs of two granules; returns its number.
uint32_t full_block() {
  const GranuleIndex first = take_run(2);
  for (int i = 1; i < 16; ++i) take_run(2);
  return block_of(first);
}

// Time passes for what the blocks remember.
void age(uint32_t block) {
  std::atomic<uint16_t>& settled = region.block_at(block).settled;
  settled.store(static_cast<uint16_t>(settled.load() - 10));
}

TEST_CASE("a full block is collapsed once, whole") {
  in_fresh_process([] {
    start();
    const uint32_t block = full_block();
    EXPECT(page_collapse(kAtOnce) == kBlockBytes && script.collapsed.size() == 1);
    EXPECT(script.collapsed[0].start == region_view.base + block * kBlockBytes);
    EXPECT(script.collapsed[0].bytes == kBlockBytes && has_huge_bits(block, kIsHuge));
    EXPECT(page_collapse(kAtOnce) == 0 && script.collapsed.size() == 1);
    EXPECT(collapse_counters().done == 1 && collapse_counters().failed == 0);
    EXPECT(script.huge.empty() && script.small.empty());
  });
}

TEST_CASE("a sparse one is not, be it by granules or by pages") {
  in_fresh_process([] {
    start();
    const uint32_t block = full_block();
    const GranuleIndex first = block * kBlockGranules;
    release_slab_run(first + 4, 2);
    EXPECT(page_collapse(kAtOnce) == 0);
    take_run(1);
    script.resident_of_block = kLeastResident - 4096;
    EXPECT(page_collapse(kAtOnce) == 0 && script.collapsed.empty());
    script.resident_of_block = kLeastResident;
    EXPECT(page_collapse(kAtOnce) == kBlockBytes);
    // The granule that nobody uses is resident now.
    PageStatistics now;
    page_collect(now);
    EXPECT(now.dirty_bytes == kGranuleBytes && now.dirty_bytes == now.free_in_blocks_bytes);
    page_audit();
  });
}

TEST_CASE("only what lasts is collapsed in time") {
  in_fresh_process([] {
    start();
    const uint32_t block = full_block();
    EXPECT(page_collapse(kInTime) == 0 && region.block_at(block).settled.load() != 0);
    EXPECT(page_collapse(kInTime) == 0 && script.collapsed.empty());
    age(block);
    // Something in it is given back, and taken again: it is young again.
    release_slab_run(block * kBlockGranules, 2);
    EXPECT(block_of(take_run(2)) == block);
    EXPECT(page_collapse(kInTime) == 0 && page_collapse(kInTime) == 0);
    age(block);
    EXPECT(page_collapse(kInTime) == kBlockBytes);
  });
}

TEST_CASE("after a slow collapse in time there is none for a while") {
  in_fresh_process([] {
    start();
    void* start_of_large = nullptr;
    EXPECT(free_large(allocate_large(80 * kMiB, 16, false), &start_of_large) == FreeLarge::done);
    const uint32_t blocks[2] = {full_block(), full_block()};
    const auto seconds = static_cast<uint16_t>(os::monotonic_ns() / 1'000'000'000);
    for (const uint32_t block : blocks) region.block_at(block).settled.store(static_cast<uint16_t>(seconds - 10));
    EXPECT(collapsible_bytes() != 0);
    script.collapse_sleeps_us = 20'000;
    EXPECT(page_collapse(kInTime) == kBlockBytes && script.collapsed.size() == 1);
    EXPECT(collapsible_bytes() == 0);
    // Who asks for it at once gets it.
    EXPECT(page_collapse(kAtOnce) == kBlockBytes && script.collapsed.size() == 2);
  });
}

TEST_CASE("creating slabs collapses nothing") {
  in_fresh_process([] {
    start();
    void* const large = allocate_large(80 * kMiB, 16, false);
    EXPECT(page_collapse(kInTime) == 0);
    for (uint32_t b = block_of(region.granule_of(large)), i = 0; i < 40; ++i) age(b + i);
    for (int i = 0; i < 1000; ++i) take_run(2);
    EXPECT(script.collapsed.empty());
    EXPECT(page_collapse(kInTime) >= 39 * kBlockBytes);
  });
}

TEST_CASE("of a large object, the blocks that lie inside") {
  in_fresh_process([] {
    start();
    allocate_large(kMiB, 16, false);
    void* const p = allocate_large(5 * kMiB, 16, false);
    EXPECT(page_collapse(kAtOnce) == 4 * kMiB && script.collapsed.size() == 2);
    for (const auto& range : script.collapsed) {
      EXPECT(range.start % kBlockBytes == 0 && range.start >= address_of(p));
      EXPECT(range.start + range.bytes <= address_of(p) + 5 * kMiB);
    }
  });
}

TEST_CASE("a budget of blocks is kept, and the next call goes on where it stopped") {
  in_fresh_process([] {
    start();
    allocate_large(80 * kMiB, 16, false);
    full_block();
    CollapseBudget three = kAtOnce;
    three.blocks = 3;
    for (int i = 0; i < 13; ++i) EXPECT(page_collapse(three) == 3 * kBlockBytes);
    EXPECT(page_collapse(three) == 2 * kBlockBytes && page_collapse(three) == 0);
    EXPECT(script.collapsed.size() == 41);
    CollapseBudget nothing = kAtOnce;
    nothing.blocks = 0;
    full_block();
    EXPECT(page_collapse(nothing) == 0);
    // No time is enough for one block.
    nothing.blocks = 9;
    nothing.nanoseconds = 0;
    EXPECT(page_collapse(nothing) <= kBlockBytes);
  });
}

TEST_CASE("a refusal is counted, and not asked for again before something changed") {
  in_fresh_process([] {
    start();
    script.collapse = os::Collapse::refused;
    const uint32_t block = full_block();
    EXPECT(page_collapse(kAtOnce) == 0 && collapse_counters().failed == 1);
    EXPECT(!has_huge_bits(block, kIsHuge));
    age(block);
    script.collapse = os::Collapse::done;
    EXPECT(page_collapse(kInTime) == 0 && script.collapsed.size() == 1);
    release_slab_run(block * kBlockGranules, 2);
    take_run(2);
    page_collapse(kInTime);
    age(block);
    EXPECT(page_collapse(kInTime) == kBlockBytes);
  });
}

TEST_CASE("auto collapses nothing of a small heap by itself, never nothing at all") {
  in_fresh_process([] {
    start(HugeMode::automatic);
    const uint32_t block = full_block();
    page_collapse(kInTime);
    age(block);
    EXPECT(page_collapse(kInTime) == 0);
    EXPECT(page_collapse(kAtOnce) == kBlockBytes);
  });
  in_fresh_process([] {
    start(HugeMode::never);
    full_block();
    EXPECT(page_collapse(kAtOnce) == 0 && script.collapsed.empty());
  });
  in_fresh_process([] {
    script.policy = os::HugePolicy::never;
    start(HugeMode::automatic);
    full_block();
    EXPECT(page_collapse(kAtOnce) == 0 && script.collapsed.empty());
  });
}

TEST_CASE("not inside a lock") {
  in_fresh_process([] {
    start();
    full_block();
    const LockGuard guard(shards[0].lock);
    EXPECT(page_collapse(kAtOnce) == 0);
  });
}

TEST_CASE("whole free blocks are decommitted first, then sparse ones; dense ones on huge pages when all must go") {
  in_fresh_process([] {
    start();
    const uint32_t dense = full_block();
    const uint32_t sparse = full_block();
    const uint32_t whole = full_block();
    EXPECT(page_collapse(kAtOnce) == 3 * kBlockBytes);
    release_slab_run(dense * kBlockGranules, 2);
    EXPECT(dense != sparse && sparse != whole);
    const GranuleIndex spared = take_run(1);
    EXPECT(block_of(spared) == dense);
    for (unsigned i = 0; i < 8; ++i) release_slab_run(sparse * kBlockGranules + 4 * i, 2);
    for (unsigned i = 0; i < 16; ++i) release_slab_run(whole * kBlockGranules + 2 * i, 2);
    // As much as is wanted, and no block is broken for it while a whole one is free.
    EXPECT(page_trim(kBlockBytes) >= kBlockBytes);
    EXPECT(script.decommitted.size() == 1);
    EXPECT(script.decommitted[0].covers(region_view.base + whole * kBlockBytes, kBlockBytes));
    EXPECT(!has_huge_bits(whole, kIsHuge) && has_huge_bits(sparse, kIsHuge));
    EXPECT(page_trim(4 * kGranuleBytes) >= 4 * kGranuleBytes);
    EXPECT(!has_huge_bits(sparse, kIsHuge) && has_huge_bits(dense, kIsHuge));
    EXPECT(page_trim(3 * kMiB) > 0);
    EXPECT(has_huge_bits(dense, kIsHuge));
    PageStatistics now;
    page_collect(now);
    EXPECT(now.dirty_bytes == kGranuleBytes);
    EXPECT(page_trim(SIZE_MAX) == kGranuleBytes && !has_huge_bits(dense, kIsHuge));
    page_audit();
  });
}

TEST_CASE(
    "in mode always of the kernel, a block is barred before its part is decommitted, and admitted before a collapse") {
  in_fresh_process([] {
    script.policy = os::HugePolicy::always;
    start(HugeMode::automatic);
    const uint32_t block = full_block();
    const uintptr_t place = region_view.base + block * kBlockBytes;
    EXPECT(page_collapse(kAtOnce) == kBlockBytes);
    release_slab_run(block * kBlockGranules, 2);
    EXPECT(page_trim(SIZE_MAX) == 2 * kGranuleBytes);
    EXPECT(script.small.size() == 1 && script.small[0].start == place && script.small[0].bytes == kBlockBytes);
    EXPECT(has_huge_bits(block, kIsBarred));
    take_run(2);
    EXPECT(page_collapse(kAtOnce) == kBlockBytes);
    EXPECT(script.huge.size() == 1 && script.huge[0].start == place && !has_huge_bits(block, kIsBarred));
  });
}

TEST_CASE("the same before pages inside a slab are decommitted") {
  in_fresh_process([] {
    script.policy = os::HugePolicy::always;
    start(HugeMode::automatic);
    const uint32_t block = full_block();
    EXPECT(page_collapse(kAtOnce) == kBlockBytes);
    EXPECT(prepare_inner_decommit(block * kBlockGranules + 2, 2));
    EXPECT(script.small.size() == 1 && script.small[0].start == region_view.base + block * kBlockBytes);
    EXPECT(has_huge_bits(block, kIsBarred) && !has_huge_bits(block, kIsHuge));
  });
}

TEST_CASE("eligible and wasted bytes") {
  in_fresh_process([] {
    start();
    full_block();
    allocate_large(kMiB, 16, false);
    allocate_large(6 * kMiB, 2 * kMiB, false);
    HugeStatistics now;
    huge_collect(now);
    EXPECT(now.eligible_bytes == 8 * kMiB && now.huge_bytes == 0 && now.waste_bytes == 0);
  });
}

// With the kernel's own functions.
TEST_CASE("a real collapse, and a real look") {
  const test::Outcome outcome = test::run_in_child([] {
    EXPECT(page_init({.reserve_bytes = kGiB, .dirty_bytes = 0, .huge = HugeMode::collapse}));
    test::place_window();
    char* const p = static_cast<char*>(allocate_large(4 * kMiB, 2 * kMiB, false));
    memset(p, 7, 4 * kMiB);
    HugeStatistics before;
    huge_collect(before);
    EXPECT(before.huge_bytes == 0 && before.eligible_bytes == 4 * kMiB);
    size_t found = 0;
    const bool looks = os::find_huge_pages(
        address_of(p), 4 * kMiB, [](void* sum, uintptr_t, size_t bytes) { *static_cast<size_t*>(sum) += bytes; },
        &found);
    const size_t gained = page_collapse(kAtOnce);
    if (gained != 4 * kMiB || !looks) _exit(77);
    HugeStatistics after;
    huge_collect(after);
    EXPECT(after.huge_bytes == 4 * kMiB && found == 0);
    for (size_t i = 0; i < 4 * kMiB; ++i) EXPECT(p[i] == 7);
    void* start = nullptr;
    free_large(p, &start);
    EXPECT(page_trim(SIZE_MAX) == 4 * kMiB);
    huge_collect(after);
    EXPECT(after.huge_bytes == 0);
  });
  if (WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 77) {
    WARN("this kernel collapses nothing now, or has no PAGEMAP_SCAN");
    return;
  }
  INFO(outcome.output);
  CHECK(outcome.status == 0);
}

}  // namespace
