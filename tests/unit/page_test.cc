#include "page/page.h"

#include <cstring>
#include <thread>

#include "os/memory.h"
#include "os/process.h"
#include "os/thread.h"
#include "page/decommit.h"
#include "page/exposure.h"
#include "page/shard.h"
#include "tests/unit/layers.h"
#include "tests/unit/memory_script.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;
using pm::test::start_pages;

char* large(size_t bytes, size_t alignment = kSizeStep, bool zero = false) {
  void* const p = allocate_large(bytes, alignment, zero);
  EXPECT(p != nullptr);
  return static_cast<char*>(p);
}

FreeLarge free_at(void* p) {
  void* start = nullptr;
  return free_large(p, &start);
}

PageStatistics statistics() {
  PageStatistics out;
  page_collect(out);
  page_audit();
  return out;
}

TEST_CASE("large objects are whole pages, zero where they are fresh, and counted") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(200'000);
    EXPECT(large_size(p) == align_up(200'000, os::page_size()));
    EXPECT(address_of(p) % kGranuleBytes == 0 && region.contains(p));
    for (size_t i = 0; i < large_size(p); ++i) EXPECT(p[i] == 0);
    memset(p, 1, large_size(p));
    PageStatistics now = statistics();
    EXPECT(now.large_objects == 1 && now.large_bytes == large_size(p) && now.large_allocations == 1);
    EXPECT(free_at(p) == FreeLarge::done);
    now = statistics();
    EXPECT(now.large_objects == 0 && now.large_bytes == 0 && now.large_frees == 1);
    EXPECT(now.dirty_bytes == 4 * kGranuleBytes && now.dirty_bytes + now.clean_bytes == now.committed_bytes);
  });
}

TEST_CASE("the smallest and the impossible") {
  in_fresh_process([] {
    start_pages();
    EXPECT(large_size(large(0)) == os::page_size());
    EXPECT(large_size(large(1)) == os::page_size());
    EXPECT(allocate_large(SIZE_MAX, 16, false) == nullptr);
    EXPECT(allocate_large(size_t{1} << 50, 16, false) == nullptr);
    EXPECT(allocate_large(1, 2 * kMaxAlignment, false) == nullptr);
  });
}

TEST_CASE("every alignment") {
  in_fresh_process([] {
    start_pages();
    for (size_t alignment = 16; alignment <= 64 * kMiB; alignment *= 2) {
      char* const p = large(100'000, alignment);
      EXPECT(address_of(p) % alignment == 0);
      p[99'999] = 1;
    }
    page_audit();
  });
}

TEST_CASE("memory that was used is zero again when that is asked for, at the cost of its dirty parts alone") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(kMiB);
    memset(p, 7, kMiB);
    EXPECT(free_at(p) == FreeLarge::done);
    char* const q = large(2 * kMiB, kSizeStep, true);
    // The part that nobody has used is not there yet.
    EXPECT(os::resident_bytes(address_of(q), 2 * kMiB) <= kMiB);
    for (size_t i = 0; i < 2 * kMiB; ++i) EXPECT(q[i] == 0);
  });
}

TEST_CASE("what is at an address") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(5 * kGranuleBytes);
    void* start = nullptr;
    EXPECT(find_large(p, &start) == FreeLarge::done && start == p);
    for (const size_t offset : {size_t{1}, size_t{4096}, kGranuleBytes, 5 * kGranuleBytes - 1}) {
      start = nullptr;
      EXPECT(free_large(p + offset, &start) == FreeLarge::inside && start == p);
    }
    EXPECT(free_at(p + 5 * kGranuleBytes) == FreeLarge::freed_already);
    EXPECT(free_at(p) == FreeLarge::done);
    EXPECT(free_at(p) == FreeLarge::freed_already);
    EXPECT(free_at(p + kGranuleBytes) == FreeLarge::freed_already);
    bool clean = false;
    const GranuleIndex run = allocate_slab_run(1, &clean);
    allocate_slab_run(1, &clean);
    release_slab_run(run, 1);
    EXPECT(free_at(region.address(run)) == FreeLarge::slab_gone);
  });
}

TEST_CASE("resizing in place") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(4 * kGranuleBytes);
    memset(p, 3, 4 * kGranuleBytes);
    EXPECT(resize_large(p, 9 * kGranuleBytes) && large_size(p) == 9 * kGranuleBytes);
    EXPECT(p[4 * kGranuleBytes - 1] == 3);
    p[9 * kGranuleBytes - 1] = 4;
    char* const neighbour = large(1);
    EXPECT(neighbour == p + 9 * kGranuleBytes);
    EXPECT(!resize_large(p, 10 * kGranuleBytes) && large_size(p) == 9 * kGranuleBytes);
    EXPECT(!resize_large(p, SIZE_MAX));
    // Within its last granule and back.
    EXPECT(resize_large(p, 8 * kGranuleBytes + 1) && large_size(p) == 8 * kGranuleBytes + os::page_size());
    EXPECT(resize_large(p, 9 * kGranuleBytes));
    EXPECT(resize_large(p, 1) && large_size(p) == os::page_size() && p[0] == 3);
    EXPECT(statistics().large_bytes == 2 * os::page_size());
    EXPECT(large(8 * kGranuleBytes) == p + kGranuleBytes);
    page_audit();
  });
}

TEST_CASE("objects move by their pages to clean memory, and leave clean memory behind") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(2 * kMiB);
    large(1);
    // Resident when it is handed out, so that somebody has to know that it is not when it is given back.
    p[0] = 1;
    EXPECT(free_at(p) == FreeLarge::done && large(2 * kMiB) == p);
    for (size_t i = 0; i < 2 * kMiB; i += 4096) memcpy(p + i, &i, sizeof i);
    auto* const q = static_cast<char*>(move_large(p, 8 * kMiB));
    EXPECT(q != nullptr && q != p && large_size(q) == 8 * kMiB);
    for (size_t i = 0; i < 2 * kMiB; i += 4096) EXPECT(memcmp(q + i, &i, sizeof i) == 0);
    q[8 * kMiB - 1] = 1;
    EXPECT(free_at(p) == FreeLarge::freed_already);
    EXPECT(statistics().large_objects == 2);
    if (statistics().moves == 1) {  // none on a kernel before 5.7
      EXPECT(statistics().dirty_bytes == 0);
      EXPECT(os::resident_bytes(address_of(p), 2 * kMiB) == 0 && !is_dirty(region.granule_of(p)));
    }
    EXPECT(free_at(q) == FreeLarge::done);
    EXPECT(move_large(large(1024), 4096) == nullptr);
  });
}

// The end of its last granule has another history.
TEST_CASE("what lies behind a moved object is not taken for clean") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(2 * kMiB);
    large(1);
    memset(p, 7, 2 * kMiB);
    EXPECT(free_at(p) == FreeLarge::done && large(2 * kMiB - 8192) == p);
    EXPECT(move_large(p, 8 * kMiB) != nullptr);
    EXPECT(large(2 * kMiB, kSizeStep, true) == p);
    for (size_t i = 0; i < 2 * kMiB; ++i) EXPECT(p[i] == 0);
  });
}

TEST_CASE("objects are copied to where resident pages lie") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(2 * kMiB);
    memset(p, 5, 2 * kMiB);
    large(1);
    char* const hole = large(4 * kMiB);
    memset(hole, 6, 4 * kMiB);
    large(1);
    EXPECT(free_at(hole) == FreeLarge::done);
    auto* const q = static_cast<char*>(move_large(p, 4 * kMiB));
    EXPECT(q == hole && statistics().moves == 0);
    for (size_t i = 0; i < 2 * kMiB; ++i) EXPECT(q[i] == 5);
    EXPECT(free_at(p) == FreeLarge::freed_already);
    EXPECT(statistics().dirty_bytes == 2 * kMiB);
    EXPECT(os::resident_bytes(address_of(p), 2 * kMiB) == 2 * kMiB);
  });
}

TEST_CASE("zeroed memory that is clean is not touched, fresh or decommitted") {
  in_fresh_process([] {
    start_pages();
    char* p = large(64 * kMiB, kSizeStep, true);
    EXPECT(os::resident_bytes(address_of(p), 64 * kMiB) == 0);
    for (size_t i = 0; i < 64 * kMiB; i += 4096) p[i] = 1;
    EXPECT(free_at(p) == FreeLarge::done && page_trim(SIZE_MAX) >= 64 * kMiB);
    char* const q = large(64 * kMiB, kSizeStep, true);
    EXPECT(q == p && os::resident_bytes(address_of(q), 64 * kMiB) == 0);
    EXPECT(q[0] == 0 && q[64 * kMiB - 1] == 0);
  });
}

uint64_t faked_now = 1;

TEST_CASE("taking clean memory gives dirty memory back, as time allows for") {
  in_fresh_process([] {
    start_pages(0);
    set_decommit_clock([] { return faked_now; });
    char* dirty[2];
    for (char*& p : dirty) {
      p = large(16 * kMiB);
      memset(p, 1, 16 * kMiB);
      large(1);
    }
    char* const clean = large(64 * kMiB);
    EXPECT(free_at(clean) == FreeLarge::done && page_trim(SIZE_MAX) == 64 * kMiB);
    const uint64_t decommitted = statistics().decommitted_bytes;
    for (char* p : dirty) EXPECT(free_at(p) == FreeLarge::done);
    EXPECT(statistics().dirty_bytes == 32 * kMiB);
    const uint64_t grows = statistics().grows;
    const auto take_clean = [&] {
      char* const p = large(32 * kMiB);
      EXPECT(p == clean && statistics().grows == grows);
      return statistics().decommitted_bytes - decommitted;
    };
    // The first look at the clock only starts it. 64 ms later 64 granules may go, whole huge blocks of them.
    EXPECT(take_clean() == 0);
    EXPECT(free_at(clean) == FreeLarge::done);
    faked_now += 64'000'000;
    // What was never touched counts as dirty once it was freed: take the memory behind it.
    char* const more = large(33 * kMiB);
    EXPECT(more != nullptr);
    const uint64_t given = statistics().decommitted_bytes - decommitted;
    EXPECT(given >= 64 * kGranuleBytes && given < (64 + kBlockGranules) * kGranuleBytes);
  });
}

TEST_CASE("what somebody found worth keeping is not given back by growth, nor for clean memory") {
  in_fresh_process([] {
    start_pages(0);
    set_decommit_clock([] { return faked_now; });
    char* const dirty = large(16 * kMiB);
    memset(dirty, 1, 16 * kMiB);
    large(1);
    EXPECT(free_at(dirty) == FreeLarge::done);
    page_keep(16 * kMiB);
    faked_now += 1'000'000'000;
    const uint64_t grows = statistics().grows;
    for (int i = 0; i < 4; ++i) EXPECT(large(20 * kMiB) != nullptr);
    EXPECT(statistics().grows > grows && statistics().dirty_bytes == 16 * kMiB);
    // A part of it is worth keeping: the rest goes.
    page_keep(8 * kMiB);
    EXPECT(large(20 * kMiB) != nullptr);  // the first look at the clock only starts it
    faked_now += 1'000'000'000;
    EXPECT(large(20 * kMiB) != nullptr);
    EXPECT(statistics().dirty_bytes <= 8 * kMiB && statistics().dirty_bytes + kBlockBytes > 8 * kMiB);
    page_keep(0);
    faked_now += 1'000'000'000;
    EXPECT(large(20 * kMiB) != nullptr);
    EXPECT(statistics().dirty_bytes <= 4 * kMiB);  // a fiftieth of what is in use
  });
}

TEST_CASE("a fork waits for a decommit under way, so that a child finds nothing in hand, but not for ever") {
  in_fresh_process([] {
    test::follow_script();
    start_pages(uint64_t{1} << 40);
    const auto in_hand_at_fork = [](unsigned sleeps_us) {
      char* const p = large(4 * kMiB);
      memset(p, 1, 4 * kMiB);
      EXPECT(free_at(p) == FreeLarge::done);
      test::script.decommit_sleeps_us = sleeps_us;
      std::thread slow([] { page_trim(SIZE_MAX); });
      while (!page_in_hand()) std::this_thread::yield();
      page_before_fork();
      uint64_t busy = 0;
      for (const Shard& shard : shards) busy += shard.busy;
      page_after_fork_parent();
      slow.join();
      return busy;
    };
    EXPECT(in_hand_at_fork(5'000) == 0);
    EXPECT(in_hand_at_fork(3'000'000) != 0);
    test::script.decommit_sleeps_us = 0;
    EXPECT(statistics().dirty_bytes == 0);
  });
}

TEST_CASE("slab runs share huge blocks; empty blocks are extents again") {
  in_fresh_process([] {
    start_pages();
    bool clean = false;
    GranuleIndex runs[6];
    const uint32_t lengths[6] = {1, 2, 4, 8, 16, 1};
    for (int i = 0; i < 6; ++i) {
      runs[i] = allocate_slab_run(lengths[i], &clean);
      EXPECT(clean && runs[i] % lengths[i] == 0 && runs[i] / kBlockGranules == runs[0] / kBlockGranules);
    }
    EXPECT(statistics().slab_run_bytes == 32 * kGranuleBytes && statistics().free_in_blocks_bytes == 0);
    for (int i = 0; i < 6; ++i) release_slab_run(runs[i], lengths[i]);
    const PageStatistics now = statistics();
    EXPECT(now.slab_run_bytes == 0 && now.free_in_blocks_bytes == 0 && now.dirty_bytes == 32 * kGranuleBytes);
    EXPECT(now.largest_free_bytes == now.committed_bytes);
    EXPECT(allocate_slab_run(4, &clean) != kNoGranule && !clean);
  });
}

TEST_CASE("statistics wait for nothing in a handler inside a lock") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(4 * kMiB);
    Shard& shard = owner_of(region.granule_of(p));
    PageStatistics out;
    page_collect(out);
    EXPECT(out.large_objects == 1);
    shard.lock.lock();  // as the code that the handler's signal interrupted
    page_collect(out);
    shard.lock.unlock();
    EXPECT(out.large_objects == 0 && out.committed_bytes != 0);
  });
}

TEST_CASE("trimming gives back as much as was asked for, and everything in the end") {
  in_fresh_process([] {
    start_pages();
    char* objects[8];
    for (char*& p : objects) {
      p = large(kMiB);
      memset(p, 1, kMiB);
    }
    for (int i = 0; i < 8; i += 2) EXPECT(free_at(objects[i]) == FreeLarge::done);
    EXPECT(statistics().dirty_bytes == 4 * kMiB);
    EXPECT(page_trim(0) == 0);
    EXPECT(page_trim(kMiB) >= kMiB && statistics().dirty_bytes <= 3 * kMiB);
    EXPECT(page_trim(SIZE_MAX) >= 2 * kMiB && statistics().dirty_bytes == 0);
    EXPECT(page_trim(SIZE_MAX) == 0);
    EXPECT(statistics().decommitted_bytes == 4 * kMiB);
    for (int i = 0; i < 8; ++i) {
      EXPECT(os::resident_bytes(address_of(objects[i]), kMiB) == (i % 2 == 0 ? 0 : kMiB));
      EXPECT(i % 2 == 0 || objects[i][kMiB - 1] == 1);
    }
  });
}

// A free extent may be dirty in part.
TEST_CASE("what was clean already is not counted as given back") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(kMiB);
    memset(p, 1, kMiB);
    large(1);
    char* const q = large(kMiB);
    memset(q, 1, kMiB);
    // q's extent grows together with clean memory and is the longest.
    EXPECT(free_at(p) == FreeLarge::done && free_at(q) == FreeLarge::done);
    EXPECT(statistics().dirty_bytes == 2 * kMiB);
    EXPECT(page_trim(2 * kMiB) == 2 * kMiB);
    EXPECT(statistics().dirty_bytes == 0 && statistics().decommitted_bytes == 2 * kMiB);
    EXPECT(os::resident_bytes(address_of(p), kMiB) == 0 && os::resident_bytes(address_of(q), kMiB) == 0);
  });
}

TEST_CASE("free granules between slabs are given back too") {
  in_fresh_process([] {
    start_pages();
    bool clean = false;
    const GranuleIndex a = allocate_slab_run(4, &clean);
    const GranuleIndex b = allocate_slab_run(1, &clean);
    memset(region.address(a), 1, 4 * kGranuleBytes);
    memset(region.address(b), 2, kGranuleBytes);
    release_slab_run(a, 4);
    EXPECT(page_trim(SIZE_MAX) == 4 * kGranuleBytes);
    EXPECT(os::resident_bytes(address_of(region.address(a)), 4 * kGranuleBytes) == 0);
    EXPECT(static_cast<char*>(region.address(b))[kGranuleBytes - 1] == 2);
    EXPECT(allocate_slab_run(4, &clean) == a && clean);
  });
}

TEST_CASE("growth decommits first what lies dirty beyond the limit") {
  in_fresh_process([] {
    start_pages(kMiB);
    char* const p = large(16 * kMiB);
    memset(p, 1, 16 * kMiB);
    char* const fence = large(1);
    EXPECT(free_at(p) == FreeLarge::done);
    EXPECT(statistics().decommit_calls == 0);
    // Too large for the hole.
    large(64 * kMiB);
    const PageStatistics now = statistics();
    EXPECT(now.decommit_calls > 0);
    EXPECT(now.dirty_bytes <= now.committed_bytes / 4);
    EXPECT(free_at(fence) == FreeLarge::done);
  });
}

TEST_CASE("a decommit that is refused keeps the pages dirty, and trimming ends") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(kMiB);
    memset(p, 1, kMiB);
    EXPECT(free_at(p) == FreeLarge::done);
    static os::MemoryFunctions refusing = os::memory();
    refusing.decommit = [](const os::PageRange*, size_t) -> size_t { return 0; };
    os::set_memory_functions(&refusing);
    EXPECT(page_trim(SIZE_MAX) == 0 && statistics().dirty_bytes == kMiB);
    os::set_memory_functions(nullptr);
    EXPECT(page_trim(SIZE_MAX) >= kMiB && statistics().dirty_bytes == 0);
    char* const q = large(kMiB, kSizeStep, true);
    for (size_t i = 0; i < kMiB; ++i) EXPECT(q[i] == 0);
  });
}

TEST_CASE("memory that is refused is reported, and what is free still serves") {
  in_fresh_process([] {
    start_pages();
    char* const p = large(kMiB);
    static os::MemoryFunctions refusing = os::memory();
    refusing.commit = [](uintptr_t, size_t) { return false; };
    os::set_memory_functions(&refusing);
    EXPECT(allocate_large(512 * kMiB, 16, false) == nullptr && statistics().refusals > 0);
    EXPECT(free_at(p) == FreeLarge::done);
    EXPECT(large(kMiB) != nullptr);
  });
}

// The size of what may be resident, by the page layer's own books.
uint64_t exposed_by_books() {
  const PageStatistics now = statistics();
  return now.committed_bytes - now.clean_bytes;
}

TEST_CASE("memory on its way to the system is exposed until it is there") {
  in_fresh_process([] {
    start_pages();
    void* start = nullptr;
    void* const p = allocate_large(4 * kMiB, 16, false);
    memset(p, 1, 4 * kMiB);
    EXPECT(free_large(p, &start) == FreeLarge::done && exposed_bytes() == 4 * kMiB);
    static const os::MemoryFunctions kernel = os::memory();
    static os::MemoryFunctions watched = kernel;
    static uint64_t seen = 0;
    watched.decommit = [](const os::PageRange* ranges, size_t count) {
      seen = exposed_bytes();
      EXPECT(page_in_hand());
      return kernel.decommit(ranges, count);
    };
    os::set_memory_functions(&watched);
    EXPECT(page_trim(SIZE_MAX) == 4 * kMiB && seen == 4 * kMiB);
    EXPECT(exposed_bytes() == 0 && !page_in_hand());
  });
}

TEST_CASE("exposure is everything but clean free memory, whatever happens") {
  in_fresh_process([] {
    start_pages(kGiB);
    EXPECT(exposed_bytes() == 0);
    char* const p = large(4 * kMiB);
    EXPECT(exposed_bytes() == 4 * kMiB && exposed_bytes() == exposed_by_books());
    bool clean = false;
    const GranuleIndex run = allocate_slab_run(4, &clean);
    EXPECT(exposed_bytes() == 4 * kMiB + 4 * kGranuleBytes);
    EXPECT(resize_large(p, kMiB) && exposed_bytes() == 4 * kMiB + 4 * kGranuleBytes);
    EXPECT(free_at(p) == FreeLarge::done);
    EXPECT(exposed_bytes() == exposed_by_books());
    EXPECT(page_trim(SIZE_MAX) == 4 * kMiB);
    EXPECT(exposed_bytes() == 4 * kGranuleBytes && exposed_bytes() == exposed_by_books());
    release_slab_run(run, 4);
    EXPECT(page_trim(SIZE_MAX) == 4 * kGranuleBytes && exposed_bytes() == 0);
    const PageFigures now = page_figures();
    EXPECT(now.decommitted_bytes == 4 * kMiB + 4 * kGranuleBytes && now.dirty_bytes == 0);
    EXPECT(now.large_bytes == 0 && now.large_released_bytes == kMiB && now.exposed_bytes == 0);
  });
}

TEST_CASE("the mark is passed by what is taken into use, not by what lies free and clean") {
  in_fresh_process([] {
    start_pages(kGiB);
    mark_exposure(2 * kMiB);
    EXPECT(!is_over_mark());
    char* const p = large(2 * kMiB);
    EXPECT(!is_over_mark());
    char* const q = large(kGranuleBytes);
    EXPECT(is_over_mark());
    EXPECT(free_at(p) == FreeLarge::done && is_over_mark());
    EXPECT(page_trim(SIZE_MAX) == 2 * kMiB && !is_over_mark());
    EXPECT(free_at(q) == FreeLarge::done);
  });
}

TEST_CASE("a trim of blocks leaves shorter runs alone") {
  in_fresh_process([] {
    start_pages(kGiB);
    char* const block = large(8 * kMiB);
    char* const fence = large(kGranuleBytes);
    char* const run = large(5 * kGranuleBytes);
    large(kGranuleBytes);
    EXPECT(free_at(block) == FreeLarge::done && free_at(run) == FreeLarge::done);
    const DirtyFigures dirty = page_dirty();
    EXPECT(dirty.block_bytes == 8 * kMiB && dirty.run_bytes == 5 * kGranuleBytes);
    EXPECT(page_trim(SIZE_MAX, TrimScope::blocks) == 8 * kMiB);
    EXPECT(page_dirty().block_bytes == 0 && page_dirty().run_bytes == 5 * kGranuleBytes);
    EXPECT(page_trim(SIZE_MAX) == 5 * kGranuleBytes);
    EXPECT(fence[0] == 0);
  });
}

TEST_CASE("memory is touched ahead of demand, and a refault is measured on free memory") {
  in_fresh_process([] {
    start_pages(kGiB);
    EXPECT(page_measure_refault() == 0 && page_prefault(8 * kMiB) == 0);  // there is nothing yet
    char* const p = large(32 * kMiB);
    char* const fence = large(1);
    EXPECT(free_at(p) == FreeLarge::done && page_trim(SIZE_MAX) == 32 * kMiB);
    EXPECT(os::resident_bytes(address_of(p), 32 * kMiB) == 0);
    const uint64_t ns = page_measure_refault();
    EXPECT(os::resident_bytes(address_of(p), 32 * kMiB) == 0);
    if (ns == 0) return;  // a kernel that cannot populate
    EXPECT(page_prefault(8 * kMiB) == 8 * kMiB);
    EXPECT(statistics().dirty_bytes == 8 * kMiB && exposed_bytes() == exposed_by_books());
    EXPECT(os::resident_bytes(address_of(p), 32 * kMiB) == 8 * kMiB);
    // Whoever asks next gets it.
    char* const q = large(8 * kMiB);
    EXPECT(os::resident_bytes(address_of(q), 8 * kMiB) == 8 * kMiB);
    EXPECT(fence[0] == 0);
  });
}

size_t most_populated = 0;

TEST_CASE("measuring a refault touches few pages, unless the kernel gives a huge one") {
  in_fresh_process([] {
    start_pages(kGiB);
    char* const p = large(32 * kMiB);
    EXPECT(free_at(p) == FreeLarge::done && page_trim(SIZE_MAX) == 32 * kMiB);
    static os::MemoryFunctions measured = os::memory();
    measured.populate = [](uintptr_t, size_t bytes) {
      if (bytes > most_populated) most_populated = bytes;
      const uint64_t until = os::thread_cpu_ns() + 1'000'000;
      while (os::thread_cpu_ns() < until) {
      }
      return true;
    };
    measured.resident = [](uintptr_t, size_t) { return size_t{0}; };
    os::set_memory_functions(&measured);
    const uint64_t small = page_measure_refault();
    EXPECT(most_populated != 0 && most_populated <= kBlockBytes / 8);
    EXPECT(small >= kBlockBytes / most_populated * 1'000'000);
    measured.resident = [](uintptr_t, size_t bytes) { return bytes; };
    const uint64_t huge = page_measure_refault();
    EXPECT(huge >= 1'000'000 && huge < small);
    os::set_memory_functions(nullptr);
    EXPECT(statistics().dirty_bytes == 0 && exposed_bytes() == exposed_by_books());
  });
}

}  // namespace
