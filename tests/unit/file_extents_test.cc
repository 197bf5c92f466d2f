#include "page/file_extents.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "os/process.h"
#include "tests/unit/layers.h"
#include "tests/unit/scratch_file.h"

namespace {

using namespace pm;
using test::in_fresh_process;
using test::run_in_child;
using test::ScratchPath;
using test::start_pages;
using test::unnamed_file;

constexpr uint8_t kOwner = kFirstFileOwner + 3;

// Counts what the kernel is asked for, and refuses what a test wants refused.
os::MappedFileFunctions kernel;
uint64_t most_blocks = UINT64_MAX;  // what the disk has
std::atomic<unsigned> reservations{0};
std::atomic<unsigned> punches{0};
std::atomic<bool> hold{false};
bool punch_refused = false;
int last_fd = -1;

long counted_open(const char* path, os::FileOrigin kind) {
  const long fd = kernel.open(path, kind);
  last_fd = static_cast<int>(fd);
  return fd;
}
long counted_reserve(int fd, uint64_t offset, uint64_t bytes) {
  ++reservations;
  while (hold) os::yield_thread();
  const long result = kernel.reserve(fd, offset, bytes);
  // What did not fit stays, as on a disk that is full half way.
  return result == 0 && test::blocks_of(fd) > most_blocks ? -ENOSPC : result;
}
long counted_punch(uintptr_t start, size_t bytes) {
  ++punches;
  if (punch_refused) return -EOPNOTSUPP;
  return kernel.punch(start, bytes);
}

void count_calls() {
  kernel = os::mapped_file_functions();
  static os::MappedFileFunctions counted = kernel;
  counted.open = counted_open;
  counted.reserve = counted_reserve;
  counted.punch = counted_punch;
  os::set_mapped_file_functions(&counted);
}

struct Heap {
  Lock lock{LockRank::file_heap};
  FileExtents extents{lock, kOwner};

  explicit Heap(uint64_t bytes = 64 * kMiB) { EXPECT(extents.open(unnamed_file(bytes)) == 0); }
  explicit Heap(const FileSource& source) { EXPECT(extents.open(source) == 0); }

  GranuleIndex take(uint32_t granules, uint32_t alignment = 1) {
    long error = 1;
    const GranuleIndex run = extents.allocate(granules, alignment, error);
    EXPECT(run != kNoGranule && error == 0 && run % alignment == 0);
    EXPECT(region.block(run).owner.load() == kOwner + 1 && count_dirty(run, granules) == granules);
    memset(region.address(run), 0x5a, size_t{granules} << kGranuleShift);
    return run;
  }
  long refused(uint32_t granules) {
    long error = 0;
    EXPECT(extents.allocate(granules, 1, error) == kNoGranule);
    return error;
  }
  void give(GranuleIndex run, uint32_t granules) {
    const LockGuard guard(lock);
    extents.release_locked(run, granules);
    extents.audit_locked();
  }
  uint64_t free() {
    const LockGuard guard(lock);
    return extents.free_granules_locked();
  }
  uint64_t backed() {
    const LockGuard guard(lock);
    return extents.backed_granules_locked();
  }
};

TEST_CASE("runs are backed before they are handed out, a little ahead, and used again without a call") {
  in_fresh_process([] {
    start_pages();
    count_calls();
    Heap heap;
    EXPECT(heap.free() == 1024 && heap.backed() == 0 && heap.extents.granules() == 1024);
    const GranuleIndex first = heap.take(1);
    EXPECT(reservations == 1 && heap.backed() == 32 && heap.free() == 1023);
    for (unsigned i = 0; i < 31; ++i) heap.take(1);
    EXPECT(reservations == 1);
    const GranuleIndex longer = heap.take(100);
    EXPECT(reservations == 2 && heap.backed() == 132);
    heap.give(longer, 100);
    EXPECT(heap.take(100) == longer && reservations == 2);
    EXPECT(heap.take(64, 64) % 64 == 0);
    EXPECT(region.committed_bytes() == 0);
    heap.give(first, 1);
    heap.extents.close(true);
  });
}

TEST_CASE("a full disk is an error, with the file as it was") {
  in_fresh_process([] {
    start_pages();
    count_calls();
    most_blocks = 40 * kGranuleBytes + kGranuleBytes / 2;  // the file system counts some of its own
    Heap heap;
    heap.take(20);  // 32 are reserved
    EXPECT(heap.refused(50) == -ENOSPC);
    EXPECT(heap.free() == 1004);
    // Ahead there is no room; for one there is.
    for (unsigned i = 0; i < 12; ++i) heap.take(1);
    heap.take(8);
    EXPECT(heap.refused(1) == -ENOSPC);
    EXPECT(heap.backed() == 40 && heap.free() == 1024 - 40);
    EXPECT(test::blocks_of(last_fd) >= 40 * kGranuleBytes && test::blocks_of(last_fd) <= most_blocks);
  });
}

TEST_CASE("blocks of free memory make room elsewhere in the file") {
  in_fresh_process([] {
    start_pages();
    count_calls();
    Heap heap;
    const GranuleIndex run = heap.take(100);
    const GranuleIndex wall = heap.take(1);
    heap.give(run, 100);
    // The next reservation is refused until something is punched.
    static unsigned punched_before;
    punched_before = punches;
    static os::MappedFileFunctions full = os::mapped_file_functions();
    full.reserve = [](int fd, uint64_t offset, uint64_t bytes) {
      return punches > punched_before + 1 ? kernel.reserve(fd, offset, bytes) : -ENOSPC;
    };
    os::set_mapped_file_functions(&full);
    heap.take(200);
    EXPECT(count_dirty(run, 100) == 0 && heap.backed() >= 201 && wall != run);
  });
}

TEST_CASE("the heap's end is ENOMEM") {
  in_fresh_process([] {
    start_pages();
    Heap heap(kMiB);
    EXPECT(heap.refused(17) == -ENOMEM);
    const GranuleIndex all = heap.take(16);
    EXPECT(heap.refused(1) == -ENOMEM);
    heap.give(all, 16);
    EXPECT(heap.free() == 16);
    for (unsigned i = 0; i < 16; ++i) heap.take(1);
    EXPECT(heap.refused(1) == -ENOMEM && heap.backed() == 16);
  });
}

TEST_CASE("a run grows where it is if it can") {
  in_fresh_process([] {
    start_pages();
    count_calls();
    Heap heap(8 * kMiB);  // 128 granules
    const GranuleIndex run = heap.take(40);
    EXPECT(heap.extents.extend(run, 40, 60) && heap.backed() == 60 && heap.free() == 68);
    EXPECT(!heap.extents.extend(run, 60, 129));
    most_blocks = 60 * kGranuleBytes + kGranuleBytes / 2;
    EXPECT(!heap.extents.extend(run, 60, 61) && heap.free() == 68);
    EXPECT(region.extent(run).granules == 60);
    most_blocks = UINT64_MAX;
    EXPECT(heap.extents.extend(run, 60, 128) && heap.free() == 0 && heap.backed() == 128);
  });
}

TEST_CASE("free memory is punched by trim, and beyond what is kept") {
  in_fresh_process([] {
    start_pages();
    count_calls();
    Heap heap;
    const GranuleIndex run = heap.take(300);  // more than 16 MiB
    heap.take(1);
    heap.give(run, 200);
    heap.extents.trim_excess();
    EXPECT(punches == 0);
    heap.give(run + 200, 100);
    heap.extents.trim_excess();
    // Down to half of what is kept, or a huge block less.
    EXPECT(punches > 0 && count_dirty(run, 300) <= 128 && count_dirty(run, 300) >= 96);
    for (GranuleIndex g = run; g < run + 300; ++g) {
      for (size_t i = 0; i < kGranuleBytes; i += 4096) {
        EXPECT(static_cast<char*>(region.address(g))[i] == (is_dirty(g) ? 0x5a : 0));
      }
    }

    const GranuleIndex again = heap.take(10);
    heap.give(again, 10);
    EXPECT(heap.extents.trim(1) > 0);
    heap.extents.trim(UINT64_MAX);
    EXPECT(heap.backed() == 1 && heap.extents.trim(UINT64_MAX) == 0);
  });
}

TEST_CASE("a file system that cannot punch is asked once") {
  in_fresh_process([] {
    start_pages();
    count_calls();
    punch_refused = true;
    Heap heap;
    const GranuleIndex run = heap.take(300);
    heap.give(run, 300);
    EXPECT(heap.extents.trim(UINT64_MAX) == 0 && punches == 1);
    heap.extents.trim_excess();
    EXPECT(heap.extents.trim(UINT64_MAX) == 0 && punches == 1);
    EXPECT(heap.free() == 1024 && heap.take(300) == run && reservations == 1);
  });
}

TEST_CASE("a truncated file refuses for good, with one line") {
  const test::Outcome outcome = run_in_child([] {
    start_pages();
    const ScratchPath path;
    Heap heap(path.source(8 * kMiB));
    heap.take(1);
    EXPECT(heap.extents.examine() == 0);
    EXPECT(truncate(path.c_str(), 4 * kMiB) == 0);
    EXPECT(heap.extents.examine() == -EIO);
    EXPECT(heap.refused(64) == -EIO);
    EXPECT(truncate(path.c_str(), 8 * kMiB) == 0);
    EXPECT(heap.extents.examine() == -EIO && heap.refused(64) == -EIO);
    heap.extents.close(true);
    EXPECT(path.exists());
  });
  INFO(outcome.output);
  CHECK(outcome.status == 0);
  const std::string line = "refuses from now on: its file was truncated to 4194304 bytes\n";
  CHECK(outcome.output.find(line) != std::string::npos);
  CHECK(outcome.output.find(line) == outcome.output.rfind(line));
}

TEST_CASE("truncated while blocks were being reserved") {
  const test::Outcome outcome = run_in_child([] {
    start_pages();
    static const ScratchPath path;
    Heap heap(path.source(8 * kMiB));
    static os::MappedFileFunctions late = os::mapped_file_functions();
    kernel = late;
    late.reserve = [](int fd, uint64_t offset, uint64_t bytes) {
      const long result = kernel.reserve(fd, offset, bytes);
      EXPECT(truncate(path.c_str(), 0) == 0);
      return result;
    };
    os::set_mapped_file_functions(&late);
    EXPECT(heap.refused(1) == -EIO && heap.free() == 128);
    unlink(path.c_str());
  });
  INFO(outcome.output);
  CHECK(outcome.status == 0);
}

TEST_CASE("a descriptor that the program closed and used again is not touched") {
  const test::Outcome outcome = run_in_child([] {
    start_pages();
    count_calls();
    Heap heap;
    heap.take(1);
    const ScratchPath path;
    const int theirs = open(path.c_str(), O_RDWR | O_CREAT, 0600);
    EXPECT(dup2(theirs, last_fd) == last_fd);
    EXPECT(heap.refused(100) == -EIO && test::blocks_of(theirs) == 0);
    heap.extents.close(true);
    EXPECT(fcntl(last_fd, F_GETFD) >= 0);
  });
  INFO(outcome.output);
  CHECK(outcome.status == 0);
  CHECK(outcome.output.find("its file descriptor was closed\n") != std::string::npos);
}

TEST_CASE("one thread's reservation keeps no other waiting, but for memory that may come back") {
  in_fresh_process([] {
    start_pages();
    count_calls();
    Heap heap;  // 1024 granules
    const GranuleIndex warm = heap.take(32);
    heap.take(1);
    heap.give(warm, 32);
    const unsigned before = reservations;
    hold = true;
    std::thread slow([&] {
      long error = 0;
      EXPECT(heap.extents.allocate(900, 1, error) != kNoGranule);
    });
    while (reservations == before) os::yield_thread();
    EXPECT(heap.take(16) == warm);
    heap.give(warm, 16);
    EXPECT(heap.free() == 123 && heap.refused(1025) == -ENOMEM);
    // 123 are free and 900 may come back: whoever wants 200 waits for them, and is refused in the end.
    std::atomic<bool> answered{false};
    std::thread waiting([&] {
      long error = 0;
      EXPECT(heap.extents.allocate(200, 1, error) == kNoGranule && error == -ENOMEM);
      answered = true;
    });
    for (unsigned i = 0; i < 100; ++i) {
      EXPECT(!answered);
      os::yield_thread();
    }
    hold = false;
    slow.join();
    waiting.join();
  });
}

TEST_CASE("what cannot be opened leaves nothing behind") {
  in_fresh_process([] {
    start_pages();
    const ScratchPath path;
    Lock lock{LockRank::file_heap};
    FileExtents extents{lock, kOwner};
    EXPECT(extents.open(path.source(8 * kGiB)) == -ENOMEM && !path.exists());
    kernel = os::mapped_file_functions();
    static os::MappedFileFunctions refusing = kernel;
    refusing.map = [](int, uintptr_t, size_t, bool) -> long { return -EOPNOTSUPP; };
    os::set_mapped_file_functions(&refusing);
    const GranuleIndex before = region.grow(1, 0).first;
    EXPECT(extents.open(path.source(8 * kMiB)) == -EOPNOTSUPP && !path.exists());
    os::set_mapped_file_functions(nullptr);
    EXPECT(extents.open(path.source(8 * kMiB)) == 0 && path.exists() && extents.first() > before);
    extents.close(true);
  });
}

}  // namespace
