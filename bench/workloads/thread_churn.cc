// Many short threads, a few at a time: each allocates a little, frees most of it, leaves a part to the thread that
// takes its place, and ends. Asks what the first allocation of a thread and the clean-up behind it cost.
//
// Operation: one thread's life.
#include <thread>
#include <vector>

#include "harness.h"

namespace {

constexpr size_t kObjects = 200;
constexpr size_t kLeft = 20;
using Legacy = std::vector<void*>;

void live(Legacy& legacy, uint64_t seed) {
  bench::Random random(seed);
  for (void*& object : legacy) {
    bench::give(object);
    object = bench::take_and_write(random.log_between(16, 1024), seed);
  }
  void* own[kObjects];
  for (void*& object : own) object = bench::take_and_write(random.log_between(16, 1024), seed);
  for (void* object : own) bench::give(object);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("thread_churn", argc, argv);
  const size_t at_once = workload.count("threads", 8);
  const size_t lives = workload.scaled(40'000, 200) + at_once;

  std::vector<Legacy> legacies(at_once, Legacy(kLeft));
  std::vector<std::thread> threads(at_once);
  workload.start();
  for (size_t i = 0; i < lives; ++i) {
    std::thread& thread = threads[i % at_once];
    if (thread.joinable()) thread.join();
    thread = std::thread([&legacies, at_once, i, seed = workload.seed() + i] { live(legacies[i % at_once], seed); });
  }
  for (std::thread& thread : threads) thread.join();
  workload.stop();
  for (const Legacy& legacy : legacies) {
    for (void* object : legacy) bench::give(object);
  }
  return workload.report(lives);
}
