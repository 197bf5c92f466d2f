#include "page/region.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cstring>

#include "base/compiler.h"
#include "os/memory.h"
#include "os/process.h"
#include "tests/unit/fresh_process.h"
#include "tests/window.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

constexpr uint64_t kWindow = 4 * kGiB;

void start_region(uint64_t window = kWindow) {
  EXPECT(region.init(window));
  test::place_window();
}

char* at(GranuleIndex g) { return static_cast<char*>(region.address(g)); }

// Refuses what a test wants refused, and counts.
os::MemoryFunctions kernel;
size_t largest_commit = SIZE_MAX;
int releases = 0;

void limit_commits() {
  kernel = os::memory();
  static os::MemoryFunctions limited = kernel;
  limited.commit = [](uintptr_t start, size_t bytes) { return bytes <= largest_commit && kernel.commit(start, bytes); };
  limited.release = [](uintptr_t start, size_t bytes) {
    ++releases;
    kernel.release(start, bytes);
  };
  os::set_memory_functions(&limited);
}

TEST_CASE("before the first chunk nothing is ours") {
  in_fresh_process([] {
    start_region();
    int local = 0;
    EXPECT(!region.contains(&local) && !region.contains(nullptr));
    EXPECT(!region.contains(region.address(region.first_granule())));
    EXPECT(region.window_granules() >= kWindow >> kGranuleShift);
    EXPECT(region.first_granule() == 0 || region.first_granule() % kBlockGranules == 0);
    EXPECT(region.committed_bytes() == 0);
  });
}

TEST_CASE("chunks are whole huge blocks, side by side, zero, and their shard's") {
  in_fresh_process([] {
    start_region();
    GranuleIndex expected = region.first_granule();
    size_t total = 0;
    for (uint8_t shard = 0; shard < 4; ++shard) {
      const Region::Chunk chunk = region.grow(1 + shard * 40, shard);
      EXPECT(chunk.first == expected && chunk.granules >= 1U + shard * 40U);
      EXPECT(chunk.granules % kBlockGranules == 0 && address_of(at(chunk.first)) % kBlockBytes == 0);
      expected += chunk.granules;
      total += size_t{chunk.granules} << kGranuleShift;
      char* const last = at(chunk.first + chunk.granules) - 1;
      EXPECT(*at(chunk.first) == 0 && *last == 0);
      *last = 1;
      EXPECT(region.contains(last) && region.granule_of(last) == expected - 1);
      EXPECT(!region.contains(last + 1));
      EXPECT(region.is_owned_by(chunk.first, shard) && region.is_owned_by(expected - 1, shard));
      EXPECT(!region.is_owned_by(expected, shard));
    }
    EXPECT(region.committed_bytes() == total && region.end_granule() == expected);
    EXPECT(region.grows() == 4 && region.refusals() == 0);
    EXPECT(region.table_bytes() > 0 && region.reserved_bytes() > total);
  });
}

TEST_CASE("a foreign mapping in the window is stepped over, and stays foreign") {
  in_fresh_process([] {
    start_region();
    const Region::Chunk first = region.grow(1, 0);
    // In the second huge block behind the first chunk.
    const GranuleIndex behind = first.first + first.granules;
    char* const theirs = at(behind + kBlockGranules + 3);
    EXPECT(mmap(theirs, kGranuleBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                0) == theirs);
    memset(theirs, 42, kGranuleBytes);
    for (int i = 0; i < 8; ++i) {
      const Region::Chunk chunk = region.grow(1, 1);
      EXPECT(chunk.granules != 0);
      EXPECT(chunk.first + chunk.granules <= behind + kBlockGranules || chunk.first >= behind + 2 * kBlockGranules);
      memset(at(chunk.first), 1, size_t{chunk.granules} << kGranuleShift);
    }
    const GranuleIndex their_granule = behind + kBlockGranules + 3;
    EXPECT(region.end_granule() > their_granule);
    EXPECT(region.block(their_granule).owner.load() == 0);
    EXPECT(region_view.page_map[their_granule] == 0);
    for (size_t i = 0; i < kGranuleBytes; ++i) EXPECT(theirs[i] == 42);
    EXPECT(region.refusals() == 0);
  });
}

TEST_CASE("a chunk that cannot be committed is given back and used later") {
  in_fresh_process([] {
    limit_commits();
    start_region();
    EXPECT(region.grow(1, 0).granules != 0);
    const GranuleIndex top = region.end_granule();
    largest_commit = kMiB;
    EXPECT(region.grow(1, 0).granules == 0);
    EXPECT(region.refusals() == 1 && releases > 0);
    EXPECT(!os::is_mapped(address_of(at(top)), 16 * kBlockBytes));
    EXPECT(region.end_granule() == top);
    largest_commit = SIZE_MAX;
    EXPECT(region.grow(1, 0).first == top);
  });
}

TEST_CASE("where a generous chunk is refused, the needed one is taken") {
  in_fresh_process([] {
    limit_commits();
    start_region();
    largest_commit = kBlockBytes;
    const Region::Chunk chunk = region.grow(1, 0);
    EXPECT(chunk.granules == kBlockGranules && chunk.first == region.first_granule());
    EXPECT(region.grow(kBlockGranules + 1, 0).granules == 0);
    EXPECT(region.grow(kBlockGranules, 0).first == chunk.first + kBlockGranules);
  });
}

TEST_CASE("the window ends") {
  in_fresh_process([] {
    start_region(64 * kMiB);
    size_t granules = 0;
    for (;;) {
      const Region::Chunk chunk = region.grow(1, 0);
      if (chunk.granules == 0) break;
      granules += chunk.granules;
    }
    EXPECT(granules == 64 * kMiB >> kGranuleShift);
    EXPECT(region.grow(1 << 20, 0).granules == 0 && region.refusals() == 2);
  });
}

// A sanitizer's shadow is more address space than any limit leaves.
#if !PM_SANITIZED
TEST_CASE("under RLIMIT_AS the tables are small and growth ends in a refusal") {
  in_fresh_process([] {
    rlimit limit = {512 * kMiB, 512 * kMiB};
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
    start_region(0);
    EXPECT(region.reserved_bytes() < 128 * kMiB);
    size_t bytes = 0;
    for (;;) {
      const Region::Chunk chunk = region.grow(64, 0);
      if (chunk.granules == 0) break;
      bytes += size_t{chunk.granules} << kGranuleShift;
      *at(chunk.first) = 1;
    }
    EXPECT(bytes >= 256 * kMiB && bytes < 512 * kMiB);
    // What is smaller may still go.
    EXPECT(region.refusals() == 1);
  });
}
#endif

TEST_CASE("a region without address space says so") {
  in_fresh_process([] {
    static os::MemoryFunctions refusing = os::memory();
    refusing.reserve = [](uintptr_t, size_t) -> void* { return nullptr; };
    os::set_memory_functions(&refusing);
    EXPECT(!region.init(0));
  });
}

TEST_CASE("a large window that is refused becomes a smaller one") {
  in_fresh_process([] {
    static os::MemoryFunctions small = os::memory();
    kernel = small;
    small.reserve = [](uintptr_t hint, size_t bytes) -> void* {
      return bytes <= 64 * kMiB ? kernel.reserve(hint, bytes) : nullptr;
    };
    os::set_memory_functions(&small);
    EXPECT(region.init(uint64_t{16} << 40));
    EXPECT(region.window_granules() >= (64 * kMiB) >> kGranuleShift);
    EXPECT(region.window_granules() < uint64_t{16} << 40 >> kGranuleShift);
  });
}

TEST_CASE("an adopted range is reserved, owned, and not counted as committed") {
  in_fresh_process([] {
    start_region();
    const Region::Chunk chunk = region.adopt(33, kFirstFileOwner);
    EXPECT(chunk.granules == 64 && region.is_owned_by(chunk.first + 63, kFirstFileOwner));
    EXPECT(region.contains(at(chunk.first + 64) - 1) && region.committed_bytes() == 0);
    EXPECT(os::is_mapped(address_of(at(chunk.first)), kGranuleBytes));
    EXPECT(region.extent(chunk.first).granules == 0);
    EXPECT(region.adopt(UINT32_MAX, kFirstFileOwner).granules == 0);
    region.abandon(chunk);
    EXPECT(!os::is_mapped(address_of(at(chunk.first)), 64 * kGranuleBytes));
    EXPECT(region.is_owned_by(chunk.first, kAbandonedOwner));
  });
}

TEST_CASE("abandoned claims merge and serve again, with fresh records") {
  in_fresh_process([] {
    start_region(kGiB);
    Region::Chunk chunks[5];
    for (Region::Chunk& chunk : chunks) chunk = region.adopt(64, kFirstFileOwner);
    for (GranuleIndex g = chunks[1].first; g < chunks[1].first + 64; ++g) {
      region.extent(g).granules = region.extent(g).left = 77;
      region.extent(g).state.store(ExtentState::large);
      region.block(g).dirty.store(UINT32_MAX);
    }
    for (const unsigned i : {1U, 3U, 2U}) region.abandon(chunks[i]);
    const Region::Chunk whole = region.adopt(3 * 64, kFirstFileOwner + 1);
    EXPECT(whole.first == chunks[1].first && whole.granules == 3 * 64);
    for (GranuleIndex g = whole.first; g < whole.first + 64; ++g) {
      EXPECT(region.extent(g).granules == 0 && region.extent(g).left == 0);
      EXPECT(region.extent(g).state.load() == ExtentState::none && region.block(g).dirty.load() == 0);
    }
    // The neighbours' records, on the same pages, were left alone.
    EXPECT(region.is_owned_by(chunks[0].first, kFirstFileOwner) &&
           region.is_owned_by(chunks[4].first, kFirstFileOwner));
    // What lies at the top goes back to it, and takes along what was returned below.
    region.abandon(whole);
    region.abandon(chunks[4]);
    EXPECT(region.adopt(5 * 64, kFirstFileOwner).first == chunks[1].first);
  });
}

TEST_CASE("an adopted range steps over foreign mappings") {
  in_fresh_process([] {
    start_region();
    const Region::Chunk first = region.adopt(32, kFirstFileOwner);
    char* const theirs = at(first.first + 32 + 40);
    EXPECT(mmap(theirs, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == theirs);
    const Region::Chunk second = region.adopt(64, kFirstFileOwner);
    EXPECT(second.granules == 64 && second.first >= first.first + 32 + 64);
  });
}

TEST_CASE("scattered claims beyond the table's size cost the shortest, and nothing else") {
  in_fresh_process([] {
    start_region(16 * kGiB);
    Region::Chunk chunks[80];
    for (unsigned i = 0; i < 80; ++i) chunks[i] = region.adopt(32 * (i % 2 == 0 ? 1 : 2 + i), kFirstFileOwner);
    for (unsigned i = 1; i < 80; i += 2) region.abandon(chunks[i]);
    for (unsigned i = 79; i >= 17; i -= 2)
      EXPECT(region.adopt(chunks[i].granules, kFirstFileOwner).first <= chunks[79].first);
  });
}

}  // namespace
