#include "heap/heap.h"

#include <cstring>

#include "os/libc.h"
#include "tests/unit/with_heap.h"

namespace {

using namespace pm;
using pm::test::with_heap;

const void* here() { return reinterpret_cast<const void*>(&trim_heap); }

char* text(void* p) { return static_cast<char*>(p); }

TEST_CASE("every size, small and large: room for it, aligned, and given back") {
  with_heap([] {
    for (size_t size = 0; size < 300'000; size += 1 + size / 64) {
      void* const p = allocate(size);
      EXPECT(p != nullptr && address_of(p) % 16 == 0 && usable_size(p, here()) >= size);
      memset(p, 1, size);
      deallocate(p, here());
    }
    deallocate(nullptr, here());
    EXPECT(trim_heap(SIZE_MAX) > 0 && heap_counters().misuses == 0);
  });
}

TEST_CASE("zeroed memory is zero, also the second time") {
  with_heap([] {
    for (const size_t size : {1U, 100U, 5000U, 100'000U, 131'072U, 131'073U, 3'000'000U}) {
      for (int turn = 0; turn < 3; ++turn) {
        char* const p = text(allocate_zeroed(size));
        for (size_t i = 0; i < size; ++i) {
          if (p[i] != 0) EXPECT(false && "zeroed memory is zero");
        }
        memset(p, 7, size);
        deallocate(p, here());
      }
    }
  });
}

TEST_CASE("aligned memory") {
  with_heap([] {
    for (size_t alignment = 1; alignment <= 8 * kMiB; alignment *= 2) {
      for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, size_t{70'000}, size_t{200'000}}) {
        void* const p = allocate_aligned(alignment, size);
        EXPECT(p != nullptr && address_of(p) % alignment == 0 && usable_size(p, here()) >= size);
        memset(p, 1, size);
        deallocate(p, here());
      }
    }
    EXPECT(heap_counters().misuses == 0);
  });
}

TEST_CASE("reallocation keeps what fits, in place where it can") {
  with_heap([] {
    size_t size = 1;
    char* p = text(reallocate(nullptr, size, here()));
    p[0] = 1;
    // Up through all classes and large sizes, and down again.
    while (size < 20 * kMiB) {
      const size_t next = size + size / 3 + 1;
      p = text(reallocate(p, next, here()));
      for (size_t i = 0; i < size; i += 1 + size / 64) EXPECT(p[i] == 1);
      memset(p, 1, next);
      size = next;
    }
    while (size > 1) {
      size /= 3;
      p = text(reallocate(p, size, here()));
      for (size_t i = 0; i < size; ++i) EXPECT(p[i] == 1);
    }
    deallocate(p, here());
    char* const small = text(allocate(100));
    EXPECT(reallocate(small, 112, here()) == small && reallocate(small, 60, here()) == small);
    EXPECT(heap_counters().misuses == 0);
  });
}

TEST_CASE("with a size, a free checks it") {
  with_heap([] {
    void* const p = allocate(100);
    EXPECT(!deallocate_sized_fast(p, opaque_size(200'000)) && !deallocate_sized_fast(p, 113));
    deallocate_sized_cold(p, 113, here());
    EXPECT(heap_counters().misuses == 1);
    if (!deallocate_sized_fast(p, 112)) deallocate_sized_cold(p, 112, here());
    EXPECT(heap_counters().misuses == 1);
    void* const large = allocate(200'000);
    deallocate_sized_cold(large, 300'000, here());
    EXPECT(heap_counters().misuses == 2);
    deallocate_sized_cold(large, 200'000, here());
    EXPECT(heap_counters().misuses == 2);
  });
}

TEST_CASE("misuse is seen, told from the legal, and ignored when that is wished") {
  with_heap([] {
    uint64_t expected = 0;
    char* const small = text(allocate(1000));
    char* const large = text(allocate(1'000'000));
    const auto misused = [&] { return heap_counters().misuses == ++expected; };
    deallocate(small + 8, here());
    EXPECT(misused());
    deallocate(small + 16, here());
    EXPECT(misused());
    deallocate(large + 4096, here());
    EXPECT(misused());
    deallocate(small, here());
    deallocate(small, here());
    EXPECT(misused());
    EXPECT(reallocate(small, 2000, here()) == nullptr && misused());
    EXPECT(usable_size(small, here()) == 0 && misused());
    deallocate(large, here());
    deallocate(large, here());
    EXPECT(misused());
    EXPECT(reallocate(large, 2000, here()) == nullptr && misused());
    int local = 0;
    deallocate(&local, here());
    EXPECT(misused());
  });
}

TEST_CASE("the C library's memory goes back to the C library, and keeps its content") {
  with_heap([] {
    const os::LibcAllocator& libc = os::libc_allocator();
    char* p = text(libc.malloc(100));
    memset(p, 5, 100);
    EXPECT(usable_size(p, here()) >= 100);
    p = text(reallocate(p, 5000, here()));
    EXPECT(p != nullptr && p[0] == 5 && p[99] == 5);
    deallocate(p, here());
    EXPECT(heap_counters().misuses == 0 && heap_counters().foreign_frees >= 2);
  });
}

TEST_CASE("an allocation that cannot be served is nullptr, and the heap goes on") {
  with_heap([] {
    EXPECT(allocate(SIZE_MAX) == nullptr && allocate(size_t{1} << 46) == nullptr);
    EXPECT(allocate_zeroed(SIZE_MAX) == nullptr && allocate_aligned(16, SIZE_MAX) == nullptr);
    char* const p = text(allocate(1'000'000));
    p[0] = 9;
    EXPECT(reallocate(p, size_t{1} << 46, here()) == nullptr && p[0] == 9);
    deallocate(p, here());
    EXPECT(allocate(100) != nullptr);
  });
}

// Freed small objects hold pages that a large one needs: trimming brings them out.
TEST_CASE("before it gives up, the heap gives back what it holds and tries again") {
  with_heap([] {
    void* objects[4000];
    for (void*& p : objects) p = allocate(32'000);
    for (void* p : objects) deallocate(p, here());
    static const os::MemoryFunctions kernel = os::memory();
    static os::MemoryFunctions refusing = kernel;
    refusing.reserve = [](uintptr_t, size_t) -> void* { return nullptr; };
    os::set_memory_functions(&refusing);
    void* const p = allocate(100 * kMiB);
    EXPECT(p != nullptr);
    deallocate(p, here());
  });
}

}  // namespace
