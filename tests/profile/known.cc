// A program whose allocations are known: each function below allocates in one way and size, on several threads, and
// frees a part of it, partly on other threads. Prints for each "NAME SIZE ALLOCATED LIVE", where SIZE is what the
// allocator says an object has, and "counters ok" if the allocator's own counts of allocations and frees agree.
//
// Usage: known OBJECTS FILE      the profile, which the environment starts, goes to FILE while the live ones live
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "expect.h"
#include "poolmalloc/poolmalloc.h"

namespace {

#define SITE(name, expression)                                               \
  extern "C" __attribute__((noinline, noclone, used)) void* name(size_t n) { \
    void* const p = (expression);                                            \
    EXPECT(p != nullptr);                                                    \
    memset(p, 1, n < 64 ? n : 64);                                           \
    asm volatile("" : : "r"(p) : "memory");                                  \
    return p;                                                                \
  }

void* aligned(size_t n) {
  void* p = nullptr;
  EXPECT(posix_memalign(&p, 4096, n) == 0);
  EXPECT(reinterpret_cast<uintptr_t>(p) % 4096 == 0);
  return p;
}

void* zeroed(size_t n) {
  char* const p = static_cast<char*>(calloc(1, n));
  for (size_t i = 0; i < n; ++i) EXPECT(p[i] == 0);
  return p;
}

void* grown(size_t n) {
  // From no object at all, so that the only allocation is the one of the final size.
  return realloc(nullptr, n);
}

}  // namespace

SITE(site_tiny, malloc(n))
SITE(site_small, malloc(n))
SITE(site_medium, malloc(n))
SITE(site_slab, malloc(n))
SITE(site_large, malloc(n))
SITE(site_huge, malloc(n))
SITE(site_calloc, zeroed(n))
SITE(site_realloc, grown(n))
SITE(site_aligned, aligned(n))
SITE(site_new, ::operator new(n))

namespace {

struct Way {
  const char* name;
  void* (*make)(size_t);
  size_t size;
  size_t share;  // one object of so many OBJECTS
};
const Way kWays[] = {
    {"site_tiny", site_tiny, 16, 1},          {"site_small", site_small, 100, 1},
    {"site_medium", site_medium, 3000, 8},    {"site_slab", site_slab, 70000, 200},
    {"site_large", site_large, 200000, 500},  {"site_huge", site_huge, 1000000, 2000},
    {"site_calloc", site_calloc, 600, 2},     {"site_realloc", site_realloc, 1000, 2},
    {"site_aligned", site_aligned, 5000, 20}, {"site_new", site_new, 48, 1},
};
constexpr size_t kThreads = 4;

unsigned long long metric(const char* name) {
  unsigned long long value = 0;
  EXPECT(pm_metric_get(name, &value) == 0);
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc == 3);
  const size_t objects = strtoul(argv[1], nullptr, 10);
  std::vector<std::vector<void*>> made(std::size(kWays) * kThreads);
  for (size_t w = 0; w < std::size(kWays); ++w) {
    for (size_t t = 0; t < kThreads; ++t) made[w * kThreads + t].reserve(objects / kWays[w].share + 1);
  }
  std::vector<std::thread> threads;
  threads.reserve(2 * kThreads);
  const unsigned long long allocations = metric("allocations");
  const unsigned long long frees = metric("frees");
  size_t expected_allocations = 0;
  size_t expected_frees = 0;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t w = 0; w < std::size(kWays); ++w) {
        std::vector<void*>& mine = made[w * kThreads + t];
        for (size_t i = 0; i < objects / kWays[w].share; ++i) mine.push_back(kWays[w].make(kWays[w].size));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Every third goes, on another thread than made it.
  for (size_t t = 0; t < kThreads; ++t) {
    threads[t] = std::thread([&, t] {
      for (size_t w = 0; w < std::size(kWays); ++w) {
        std::vector<void*>& others = made[w * kThreads + (t + 1) % kThreads];
        for (size_t i = 0; i < others.size(); i += 3) {
          free(others[i]);
          others[i] = nullptr;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const unsigned long long allocations_after = metric("allocations");
  const unsigned long long frees_after = metric("frees");
  for (size_t w = 0; w < std::size(kWays); ++w) {
    // One more, which tells the size whether any of the others is left.
    void* const like = kWays[w].make(kWays[w].size);
    const size_t size = malloc_usable_size(like);
    free(like);
    size_t allocated = 0;
    size_t live = 0;
    for (size_t t = 0; t < kThreads; ++t) {
      for (void* p : made[w * kThreads + t]) {
        ++allocated;
        if (p == nullptr) continue;
        ++live;
      }
    }
    expected_allocations += allocated;
    expected_frees += allocated - live;
    printf("%s %zu %zu %zu\n", kWays[w].name, size, allocated + 1, live);
  }
  // What threads allocate for themselves comes on top; it is the same for each.
  const size_t more = static_cast<size_t>(allocations_after - allocations) - expected_allocations;
  const size_t more_freed = static_cast<size_t>(frees_after - frees) - expected_frees;
  if (more <= 64 && more_freed <= more) puts("counters ok");
  printf("more %zu %zu\n", more, more_freed);
  const int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  EXPECT(fd >= 0 && pm_profile_dump(fd) == 0);
  close(fd);
  for (std::vector<void*>& row : made) {
    for (void* p : row) free(p);
  }
  return 0;
}
