// Threads allocate and free while profiles are started, written and stopped; then the allocator's counts must be
// exactly what the threads did, and nothing be left.
//
// Usage: restarts TIMES
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include "expect.h"
#include "poolmalloc/poolmalloc.h"

namespace {

std::atomic<bool> stop{false};
std::atomic<unsigned long long> allocations{0};
std::atomic<unsigned long long> frees{0};

void work(uint64_t seed) {
  void* held[500] = {};
  unsigned long long made = 0;
  unsigned long long freed = 0;
  uint64_t random = seed * 0x9e3779b97f4a7c15u + 1;
  while (!stop.load(std::memory_order_relaxed)) {
    void*& p = held[next_random(&random) % 500];
    if (p != nullptr) {
      free(p);
      p = nullptr;
      ++freed;
    } else {
      const size_t size = next_random(&random) % 512 == 0 ? 200'000 : 16 + next_random(&random) % 2000;
      p = opaque(malloc(size));
      EXPECT(p != nullptr);
      memset(p, 1, 16);
      ++made;
    }
  }
  for (void* const p : held) {
    if (p == nullptr) continue;
    free(p);
    ++freed;
  }
  allocations += made;
  frees += freed;
}

unsigned long long metric(const char* name) {
  unsigned long long value = 0;
  EXPECT(pm_metric_get(name, &value) == 0);
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc == 2);
  const int times = atoi(argv[1]);
  const int null = open("/dev/null", O_WRONLY);
  std::vector<std::thread> threads;
  threads.reserve(4);
  const unsigned long long allocations_before = metric("allocations");
  const unsigned long long frees_before = metric("frees");
  for (uint64_t i = 0; i < 4; ++i) threads.emplace_back(work, i);
  unsigned long long samples = 0;
  for (int i = 0; i < times; ++i) {
    EXPECT(pm_profile_start(i % 2 == 0 ? 4096 : 65536) == 0);
    EXPECT(pm_profile_start(4096) == -1 && errno == EALREADY);
    usleep(2000);
    EXPECT(pm_profile_dump(null) == 0);
    EXPECT(pm_profile_stop() == 0);
    EXPECT(pm_profile_stop() == -1 && errno == ESRCH);
    samples += metric("profile_samples");
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT(samples > 0);
  EXPECT(metric("profile_live_samples") == 0);
  // A thread's start allocates once, and frees it when it is joined; both are counted for all four here.
  const unsigned long long made = metric("allocations") - allocations_before - allocations;
  const unsigned long long freed = metric("frees") - frees_before - frees;
  printf("%llu samples; %llu allocations and %llu frees besides the threads' own: %s\n", samples, made, freed,
         made <= 16 && freed <= made ? "exact" : "wrong");
  return 0;
}
