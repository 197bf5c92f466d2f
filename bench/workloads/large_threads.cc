// Many more threads than CPUs take and give large objects, which are not touched: what they pay for is the locks of the
// large-object layer, and each other's lost time slices.
//
// Operation: one free with the malloc after it.
#include <pthread.h>

#include "harness.h"

namespace {

constexpr size_t kMostThreads = 256;
constexpr size_t kAlive = 4;

struct Thread {
  pthread_t handle;
  uint64_t seed;
  size_t rounds;
};

void* work(void* argument) {
  const auto& self = *static_cast<const Thread*>(argument);
  bench::Random random(self.seed);
  void* alive[kAlive] = {};
  for (size_t i = 0; i < self.rounds; ++i) {
    void*& object = alive[random.below(kAlive)];
    bench::give(object);
    object = bench::take(random.log_between(128 << 10, 8 << 20));
  }
  for (void* object : alive) bench::give(object);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("large_threads", argc, argv);
  const size_t threads = workload.count("threads", 64);
  bench::check(threads > 0 && threads <= kMostThreads, "the number of threads");
  const size_t rounds = workload.scaled(20'000, 50);
  static Thread all[kMostThreads];
  workload.start();
  for (size_t i = 0; i < threads; ++i) {
    all[i].seed = workload.seed() + i;
    all[i].rounds = rounds;
    bench::check(pthread_create(&all[i].handle, nullptr, work, &all[i]) == 0, "pthread_create");
  }
  for (size_t i = 0; i < threads; ++i) pthread_join(all[i].handle, nullptr);
  workload.stop();
  return workload.report(threads * rounds);
}
