#include "page/huge_advice.h"

#include "page/huge_blocks.h"
#include "page/page.h"
#include "tests/unit/fresh_process.h"
#include "tests/unit/memory_script.h"
#include "tests/window.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;
using pm::test::script;

uintptr_t at(GranuleIndex g) { return address_of(region.address(g)); }

// Maps a chunk as growth does, and asks for advice as if the heap were of `heap_bytes` then.
GranuleIndex grow(HugeAdvice& advice, size_t heap_bytes, uint32_t blocks = 4) {
  const Region::Chunk chunk = region.grow(blocks * kBlockGranules, 0);
  EXPECT(chunk.granules == blocks * kBlockGranules);
  advice.advise(at(chunk.first), blocks * kBlockBytes, heap_bytes);
  return chunk.first;
}

void start(HugeAdvice& advice, HugeMode mode) {
  EXPECT(region.init(kGiB));
  region.set_strict(true);
  test::place_window();
  test::follow_script();
  advice.set_mode(mode);
}

TEST_CASE("never keeps the kernel from making huge pages; collapse and hugetlb ask for nothing") {
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::never);
    const GranuleIndex first = grow(advice, kMiB);
    EXPECT(script.huge.empty() && script.small.size() == 1 && script.small[0].covers(at(first), 4 * kBlockBytes));
    EXPECT(!advice.allows_huge() && script.policy_reads == 0);
    script.small.clear();
    for (const HugeMode mode : {HugeMode::collapse, HugeMode::hugetlb}) {
      advice.set_mode(mode);
      grow(advice, kGiB);
      EXPECT(script.huge.empty() && script.small.empty() && advice.allows_huge());
    }
  });
}

TEST_CASE("always asks from the start") {
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::always);
    const GranuleIndex first = grow(advice, kMiB);
    EXPECT(script.huge.size() == 1 && script.huge[0].covers(at(first), 4 * kBlockBytes));
    EXPECT(has_huge_bits(first / kBlockGranules, kIsAdvised) && advice.advised_bytes() == 4 * kBlockBytes);
  });
}

TEST_CASE("auto leaves a small heap alone, and does not even look at the kernel's mode") {
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::automatic);
    for (int i = 0; i < 8; ++i) grow(advice, kLargeHeap - 1);
    EXPECT(script.huge.empty() && script.small.empty() && script.policy_reads == 0 && script.counts == 0);
  });
}

// How dear the first huge page of a chunk is depends on the machine, so the rest of the chunk is not looked at here.
TEST_CASE("auto asks for a dense heap's chunks, but for their first eighth, which shows how the next are used") {
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::automatic);
    grow(advice, kMiB);
    const GranuleIndex first = grow(advice, kLargeHeap, 16);
    const uint32_t block = first / kBlockGranules;
    EXPECT(!has_huge_bits(block, kIsAdvised) && !has_huge_bits(block + 1, kIsAdvised));
    EXPECT(has_huge_bits(block + 2, kIsAdvised) && script.huge[0].start == at(first) + 2 * kBlockBytes);
    EXPECT(script.policy_reads == 1);
    // Too small to have both.
    const size_t before = script.huge.size();
    grow(advice, kLargeHeap, 1);
    EXPECT(script.huge.size() == before);
  });
}

TEST_CASE("of threads that grow the heap at once, one asks and touches a page") {
  in_fresh_process([] {
    static HugeAdvice advice;
    start(advice, HugeMode::automatic);
    grow(advice, kMiB);
    script.during_populate = [] {
      script.during_populate = nullptr;
      const size_t asked = script.huge.size();
      grow(advice, kLargeHeap, 16);
      EXPECT(script.huge.size() == asked);
    };
    grow(advice, kLargeHeap, 16);
    EXPECT(script.during_populate == nullptr);
    // The next that grows alone asks again, and so does a child that was forked in the middle.
    script.during_populate = [] {
      script.during_populate = nullptr;
      advice.after_fork_child();
      const size_t before = script.huge.size();
      for (int i = 0; i < 20; ++i) grow(advice, kLargeHeap, 4);
      EXPECT(script.huge.size() > before);
    };
    const size_t asked = script.huge.size();
    for (int i = 0; i < 20; ++i) grow(advice, kLargeHeap, 4);
    EXPECT(script.huge.size() > asked);
  });
}

TEST_CASE("auto asks for nothing where what is there is not touched whole") {
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::automatic);
    grow(advice, kMiB);
    script.resident_of_block = kLeastResident - 4096;
    for (int i = 0; i < 16; ++i) grow(advice, kLargeHeap);
    EXPECT(script.huge.empty());
    // Untouched blocks say nothing either way.
    script.resident_of_block = 0;
    grow(advice, kLargeHeap);
    EXPECT(script.huge.empty());
    script.resident_of_block = kLeastResident;
    grow(advice, kLargeHeap);
    EXPECT(!script.huge.empty());
  });
}

TEST_CASE("where memory is lent to and fro, auto asks early, for whole chunks, and with more waste") {
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::automatic);
    grow(advice, kMiB);
    script.resident_of_block = kLeastResidentLent;
    grow(advice, kLargeLentHeap);
    EXPECT(script.huge.empty());
    advice.set_lent(true);
    grow(advice, kLargeLentHeap - 1);
    EXPECT(script.huge.empty());
    const GranuleIndex first = grow(advice, kLargeLentHeap);
    EXPECT(script.huge.size() == 1 && script.huge[0].covers(at(first), 4 * kBlockBytes));
    EXPECT(advice.advised_bytes() == 4 * kBlockBytes);
    script.resident_of_block = kLeastResidentLent - 4096;
    grow(advice, kLargeLentHeap);
    EXPECT(script.huge.size() == 1);
    script.resident_of_block = kLeastResidentLent;
    advice.set_lent(false);
    grow(advice, kLargeHeap, 16);
    EXPECT(script.huge.size() == 1);
  });
}

TEST_CASE("what was given back whole comes back huge, where memory is lent") {
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::automatic);
    const GranuleIndex first = grow(advice, kMiB);
    advice.readmit_whole(first, 4 * kBlockGranules);
    EXPECT(script.huge.empty());
    advice.set_lent(true);
    advice.readmit_whole(first + 1, 2 * kBlockGranules);
    EXPECT(script.huge.size() == 1 && script.huge[0].start == at(first + kBlockGranules));
    EXPECT(script.huge[0].bytes == kBlockBytes && advice.advised_bytes() == kBlockBytes);
    // Once is enough.
    advice.readmit_whole(first + 1, 2 * kBlockGranules);
    EXPECT(script.huge.size() == 1);
  });
  in_fresh_process([] {
    HugeAdvice advice;
    script.policy = os::HugePolicy::never;
    start(advice, HugeMode::automatic);
    const GranuleIndex first = grow(advice, kMiB);
    advice.set_lent(true);
    advice.readmit_whole(first, 4 * kBlockGranules);
    EXPECT(script.huge.empty());
  });
}

TEST_CASE("auto asks for nothing where the administrator allows none, or the kernel does it by itself") {
  for (const os::HugePolicy policy : {os::HugePolicy::never, os::HugePolicy::always}) {
    in_fresh_process([policy] {
      HugeAdvice advice;
      script.policy = policy;
      start(advice, HugeMode::automatic);
      grow(advice, kMiB);
      for (int i = 0; i < 4; ++i) grow(advice, kLargeHeap);
      EXPECT(script.huge.empty() && script.small.empty() && script.policy_reads == 1);
      EXPECT(advice.allows_huge() == (policy == os::HugePolicy::always));
    });
  }
}

TEST_CASE("no advice without a budget of mappings, and a refusal is survived") {
  in_fresh_process([] {
    HugeAdvice advice;
    script.mappings = script.max_map_count;
    start(advice, HugeMode::always);
    grow(advice, kMiB);
    EXPECT(script.huge.empty());
  });
  in_fresh_process([] {
    HugeAdvice advice;
    script.grants_advice = false;
    start(advice, HugeMode::always);
    const GranuleIndex first = grow(advice, kMiB);
    EXPECT(script.huge.size() == 1 && !has_huge_bits(first / kBlockGranules, kIsAdvised));
    grow(advice, kMiB);
    EXPECT(script.huge.size() == 1 && advice.advised_bytes() == 0);
  });
}

TEST_CASE("blocks that are decommitted in part are barred from huge pages where khugepaged would refill them") {
  in_fresh_process([] {
    HugeAdvice advice;
    script.policy = os::HugePolicy::always;
    start(advice, HugeMode::automatic);
    const GranuleIndex first = grow(advice, kMiB);
    // From the middle of the first block to the middle of the third.
    advice.bar_partial(first + 10, 60);
    EXPECT(script.small.size() == 2 && script.small[0].start == at(first) && script.small[0].bytes == kBlockBytes);
    EXPECT(script.small[1].start == at(first + 2 * kBlockGranules) && script.small[1].bytes == kBlockBytes);
    // Once is enough; whole blocks need none.
    advice.bar_partial(first + 12, 2);
    advice.bar_partial(first + kBlockGranules, kBlockGranules);
    EXPECT(script.small.size() == 2);
    // Whole again, they may be huge again.
    advice.readmit_whole(first, 2 * kBlockGranules + 5);
    EXPECT(script.huge.size() == 1 && script.huge[0].start == at(first));
    EXPECT(!has_huge_bits(first / kBlockGranules, kIsBarred));
    EXPECT(has_huge_bits(first / kBlockGranules + 2, kIsBarred));
  });
}

TEST_CASE("in mode madvise only blocks that got advice need barring") {
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::always);
    const GranuleIndex advised = grow(advice, kMiB);
    script.grants_advice = false;
    const GranuleIndex plain = grow(advice, kMiB);
    script.grants_advice = true;
    advice.bar_partial(plain, 1);
    EXPECT(script.small.empty());
    advice.set_mode(HugeMode::never);
    advice.bar_partial(advised, 1);
    EXPECT(script.small.empty());
  });
  in_fresh_process([] {
    HugeAdvice advice;
    start(advice, HugeMode::always);
    const GranuleIndex advised = grow(advice, kMiB);
    advice.bar_partial(advised + kBlockGranules, 31);
    EXPECT(script.small.size() == 1 && script.small[0].start == at(advised + kBlockGranules));
  });
}

}  // namespace
