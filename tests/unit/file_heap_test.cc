#include "heap/file_heap.h"

#include <cerrno>
#include <cstring>
#include <vector>

#include "heap/heap.h"
#include "os/mappings.h"
#include "os/process.h"
#include "tests/unit/layers.h"
#include "tests/unit/scratch_file.h"

namespace {

using namespace pm;
using test::in_fresh_process;
using test::run_in_child;
using test::unnamed_file;

const void* here() { return reinterpret_cast<const void*>(&trim_heap); }

FileHeap& make(uint64_t bytes = 64 * kMiB) {
  long error = 1;
  FileHeap* const heap = FileHeap::create(unnamed_file(bytes), error);
  EXPECT(heap != nullptr && error == 0);
  return *heap;
}

char* take(FileHeap& heap, size_t size, size_t alignment = kSizeStep) {
  long error = 1;
  void* const p = heap.allocate(size, alignment, error);
  EXPECT(p != nullptr && error == 0 && is_aligned(p, alignment) && FileHeap::of(p) == &heap);
  EXPECT(heap.usable_size(p, "usable", here()) >= size);
  return static_cast<char*>(p);
}

FileHeapStatistics statistics(FileHeap& heap) {
  heap.audit();
  FileHeapStatistics now;
  EXPECT(heap.collect(now));
  return now;
}

TEST_CASE("objects of all sizes and alignments, counted, and gone again") {
  in_fresh_process([] {
    test::start_slabs();
    FileHeap& heap = make();
    std::vector<char*> objects;
    uint64_t bytes = 0;
    for (size_t size : {0UL, 1UL, 16UL, 17UL, 1000UL, 5000UL, 40'000UL, 131'072UL, 131'073UL, 5'000'000UL}) {
      for (size_t alignment : {16UL, 64UL, 4096UL, 65'536UL, 2UL << 20}) {
        char* const p = take(heap, size, alignment);
        memset(p, static_cast<int>(objects.size()), size);
        objects.push_back(p);
        size_t class_size = 0;
        bytes += heap.find_size(p, class_size);
      }
      if (size > 100'000) break;
    }
    FileHeapStatistics now = statistics(heap);
    EXPECT(now.objects == objects.size() && now.used == bytes && now.size == 64 * kMiB && now.backed >= now.used);
    EXPECT(now.free + now.used <= now.size && now.largest <= now.free);
    for (char* const p : objects) heap.deallocate(p, here());
    now = statistics(heap);
    EXPECT(now.objects == 0 && now.used == 0 && now.free == now.size && now.largest == now.size);
    EXPECT(heap.trim(UINT64_MAX) > 0 && statistics(heap).backed == 0);
    EXPECT(region.committed_bytes() == 0);  // nothing of it counts as anonymous memory
  });
}

TEST_CASE("what cannot be had") {
  in_fresh_process([] {
    test::start_slabs();
    FileHeap& heap = make(kMiB);
    long error = 0;
    EXPECT(heap.allocate(kMiB + 1, 16, error) == nullptr && error == -ENOMEM);
    EXPECT(heap.allocate(SIZE_MAX, 16, error) == nullptr && error == -ENOMEM);
    EXPECT(heap.allocate(16, 2 * kMaxAlignment, error) == nullptr && error == -ENOMEM);
    take(heap, kMiB);
    EXPECT(heap.allocate(1, 16, error) == nullptr && error == -ENOMEM);
  });
}

TEST_CASE("a small heap is used up to its end") {
  in_fresh_process([] {
    test::start_slabs();
    for (const size_t size : {64UL, 3000UL, 10'000UL, 60'000UL}) {
      FileHeap& heap = make(kMiB);
      long error = 0;
      size_t got = 0;
      while (heap.allocate(size, 16, error) != nullptr) got += size;
      EXPECT(error == -ENOMEM && got >= kMiB * 3 / 4);
      heap.audit();
      EXPECT(heap.destroy() == 0);
    }
  });
}

TEST_CASE("realloc keeps the content and the heap") {
  in_fresh_process([] {
    test::start_slabs();
    FileHeap& heap = make();
    long error = 0;
    char* p = take(heap, 10);
    strcpy(p, "content");
    for (size_t size : {11UL, 5000UL, 200'000UL, 300'000UL, 10'000'000UL, 140'000UL, 50'000UL, 8UL}) {
      p = static_cast<char*>(heap.reallocate(p, size, here(), error));
      EXPECT(p != nullptr && error == 0 && strcmp(p, "content") == 0 && FileHeap::of(p) == &heap);
      EXPECT(heap.usable_size(p, "usable", here()) >= size);
      EXPECT(statistics(heap).objects == 1);
    }
    EXPECT(heap.reallocate(p, 65 * kMiB, here(), error) == nullptr && error == -ENOMEM && strcmp(p, "content") == 0);
    // In place both ways.
    char* const large = take(heap, 200'000);
    EXPECT(heap.reallocate(large, 1'000'000, here(), error) == large);
    EXPECT(heap.reallocate(large, 150'000, here(), error) == large);
    EXPECT(statistics(heap).objects == 2);
  });
}

// What malloc's entry points call.
TEST_CASE("the plain free and realloc know their heap") {
  in_fresh_process([] {
    test::start_magazines(false);
    heap_view.small_limit = kMaxClassSize + 1;
    heap_view.checked = true;
    FileHeap& heap = make();
    for (const size_t size : {100UL, 300'000UL}) {
      char* p = take(heap, size);
      p[0] = 42;
      EXPECT(usable_size(p, here()) >= size);
      p = static_cast<char*>(reallocate(p, 3 * size, here()));
      EXPECT(p != nullptr && FileHeap::of(p) == &heap && p[0] == 42);
      EXPECT(!deallocate_fast(p));
      deallocate(p, here());
      EXPECT(statistics(heap).objects == 0);
      deallocate_sized_cold(take(heap, size), size, here());
      EXPECT(statistics(heap).objects == 0);
    }
    EXPECT(FileHeap::of(allocate(100)) == nullptr && FileHeap::of(allocate(300'000)) == nullptr);
    int local = 0;
    EXPECT(FileHeap::of(&local) == nullptr && FileHeap::of(nullptr) == nullptr);
  });
}

TEST_CASE("thirty-two heaps, not more, and again after some went") {
  in_fresh_process([] {
    test::start_slabs();
    FileHeap* heaps[kMaxFileHeaps];
    for (FileHeap*& heap : heaps) heap = &make(kMiB);
    for (unsigned i = 0; i < kMaxFileHeaps; ++i) memset(take(*heaps[i], 1000), static_cast<int>(i), 1000);
    long error = 0;
    EXPECT(FileHeap::create(unnamed_file(kMiB), error) == nullptr && error == -EMFILE);
    EXPECT(file_heap_sum().heaps == kMaxFileHeaps && file_heap_sum().mapped_bytes == kMaxFileHeaps * kMiB);
    EXPECT(heaps[7]->destroy() == 0);
    EXPECT(FileHeap::checked(heaps[7], error) == nullptr && error == -EINVAL);
    EXPECT(FileHeap::checked(heaps[8], error) == heaps[8] && error == 0);
    EXPECT(FileHeap::checked(reinterpret_cast<char*>(heaps[8]) + 1, error) == nullptr);
    EXPECT(FileHeap::checked(nullptr, error) == nullptr && FileHeap::checked(&error, error) == nullptr);
    EXPECT(&make(kMiB) == heaps[7]);
  });
}

TEST_CASE("heaps that come and go use up neither the window nor mappings") {
  in_fresh_process([] {
    test::start_slabs();
    make(kMiB).destroy();
    const uint64_t mappings = os::count_mappings();
    const int lowest_free = dup(2);
    close(lowest_free);
    for (unsigned i = 0; i < 10'000; ++i) {
      // Of different lengths, with the region growing between.
      FileHeap& heap = make((1 + i % 40) * kMiB);
      if (i % 1000 == 0) EXPECT(allocate_large(8 * kMiB, 16, false) != nullptr);
      if (i % 10 == 0) take(heap, 100);
      EXPECT(heap.destroy() == 0);
    }
    EXPECT(os::count_mappings() <= mappings + 16 && dup(2) == lowest_free);
    EXPECT(file_heap_sum().heaps == 0);
  });
}

TEST_CASE("memory that a heap left is fresh for the next and for the region") {
  in_fresh_process([] {
    test::start_slabs();
    FileHeap& heap = make(64 * kMiB);
    for (unsigned i = 0; i < 100; ++i) memset(take(heap, 1000 * (i + 1)), 0xff, 1000 * (i + 1));
    EXPECT(heap.destroy() == 0);
    for (unsigned i = 0; i < 20; ++i) {
      auto* const p = static_cast<char*>(allocate_large(2 * kMiB, 16, true));
      EXPECT(p != nullptr && FileHeap::of(p) == nullptr);
      for (size_t j = 0; j < 2 * kMiB; j += 512) EXPECT(p[j] == 0);
      memset(p, 1, 2 * kMiB);
    }
    page_audit();
    char* const again = take(make(8 * kMiB), 5000);
    for (size_t i = 0; i < 5000; ++i) EXPECT(again[i] == 0);
  });
}

TEST_CASE("a child reads and writes its parent's objects, and no more") {
  in_fresh_process([] {
    test::start_slabs();
    FileHeap& heap = make();
    char* const p = take(heap, 100);
    strcpy(p, "parent");
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
      EXPECT(strcmp(p, "parent") == 0);
      strcpy(p, "child");
      long error = 0;
      EXPECT(heap.allocate(10, 16, error) == nullptr && error == -EPERM);
      EXPECT(heap.reallocate(p, 1000, here(), error) == nullptr && error == -EPERM);
      EXPECT(heap.usable_size(p, "usable", here()) >= 100);
      heap.deallocate(p, here());
      FileHeapStatistics now;
      EXPECT(!heap.collect(now) && file_heap_sum().heaps == 0 && heap.trim(UINT64_MAX) == 0);
      strcpy(take(make(kMiB), 100), "own");
      EXPECT(file_heap_sum().heaps == 1);
      EXPECT(heap.destroy() == 0);
      EXPECT(take(make(kMiB), 100) != nullptr);
      _exit(0);
    }
    int status = 1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(strcmp(p, "child") == 0 && statistics(heap).objects == 1);
    heap.deallocate(p, here());
    EXPECT(statistics(heap).objects == 0);
  });
}

// As a handler would find it that interrupted its thread inside a lock.
void expect_no_wait(LockRank rank) {
  in_fresh_process([rank] {
    test::start_slabs();
    FileHeap& heap = make();
    char* objects[20];
    for (char*& p : objects) p = take(heap, 100);
    long error = 0;
    Lock other{rank};
    {
      const LockGuard guard(other);
      EXPECT(heap.allocate(10, 16, error) == nullptr && error == -EAGAIN);
      EXPECT(heap.reallocate(objects[0], 1000, here(), error) == nullptr && error == -EAGAIN);
      EXPECT(heap.usable_size(objects[0], "usable", here()) >= 100 && heap.destroy() == -EBUSY);
      for (char* const p : objects) heap.deallocate(p, here());
    }
    EXPECT(statistics(heap).objects == 20);
    take(heap, 10);
    EXPECT(statistics(heap).objects == 5);  // sixteen were kept in mind
  });
}

TEST_CASE("inside a heap's lock nothing waits") { expect_no_wait(LockRank::file_heap); }
// Else two handlers, each inside the lock that the other wants, would wait for ever.
TEST_CASE("inside any other lock nothing waits for a heap's") { expect_no_wait(LockRank::region); }

TEST_CASE("inside a heap's lock other memory is to be had, by growth too") {
  in_fresh_process([] {
    test::start_slabs();
    Lock heaps_lock{LockRank::file_heap};
    const LockGuard guard(heaps_lock);
    void* const p = allocate_large(64 * kMiB, kSizeStep, false);
    EXPECT(p != nullptr && region.grows() == 1);
    void* start = nullptr;
    EXPECT(free_large(p, &start) == FreeLarge::done);
  });
}

template <typename Misuse>
void expect_said(const std::string& line, Misuse misuse) {
  test::expect_abort(
      [&] {
        test::start_slabs();
        misuse(make());
      },
      line);
}

TEST_CASE("misuse is named") {
  expect_said("(size class 112) in ", [](FileHeap& heap) {
    char* const p = take(heap, 100);
    take(heap, 100);
    heap.deallocate(p, here());
    heap.deallocate(p, here());
  });
  expect_said("an address inside an object of size class 112 at 0x",
              [](FileHeap& heap) { heap.deallocate(take(heap, 100) + 16, here()); });
  expect_said("an address inside a large object at 0x",
              [](FileHeap& heap) { heap.deallocate(take(heap, 300'000) + 100'000, here()); });
  expect_said(", which is free memory of a file heap, in ", [](FileHeap& heap) {
    char* const p = take(heap, 300'000);
    heap.deallocate(p, here());
    heap.deallocate(p, here());
  });
  expect_said("realloc of freed 0x", [](FileHeap& heap) {
    char* const p = take(heap, 100);
    take(heap, 100);
    heap.deallocate(p, here());
    long error = 0;
    heap.reallocate(p, 200, here(), error);
  });
  expect_said(", whose file heap was destroyed, in ", [](FileHeap& heap) {
    char* const p = take(heap, 100);
    EXPECT(heap.destroy() == 0);
    heap_view.small_limit = kMaxClassSize + 1;
    deallocate_cold(p, here());
  });
}

}  // namespace
