// Several threads allocate and never free; one thread frees and never allocates, always a long backlog behind. Whatever
// it frees is useless to it: does it get back to the others, and does memory stay bounded?
//
// Operation: one object from malloc in one thread to free in another.
#include <array>
#include <thread>

#include "harness.h"
#include "queue.h"

namespace {

constexpr size_t kBatch = 128;
using Batch = std::array<void*, kBatch>;

void allocate(bench::Queue<Batch>& queue, uint64_t seed, size_t batches) {
  bench::Random random(seed);
  Batch batch;
  for (size_t i = 0; i < batches; ++i) {
    for (void*& object : batch) object = bench::take_and_write(random.log_between(16, 1024), i);
    queue.push(batch);
  }
}

// Keeps `backlog` batches alive and frees a random one of them for every new one.
void release(bench::Queue<Batch>& queue, uint64_t seed, size_t backlog) {
  bench::Random random(seed);
  std::vector<Batch> waiting(backlog);
  size_t used = 0;
  Batch batch;
  while (queue.pop(batch)) {
    if (used < backlog) {
      waiting[used++] = batch;
      continue;
    }
    std::swap(batch, waiting[random.below(backlog)]);
    for (void* object : batch) bench::give(object);
  }
  for (size_t i = 0; i < used; ++i) {
    for (void* object : waiting[i]) bench::give(object);
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("free_only", argc, argv);
  const size_t allocators = workload.count("allocators", 3);
  const size_t backlog = workload.count("backlog", workload.smoke() ? 20 : 800);
  const size_t batches = workload.scaled(50'000, 600) / allocators + 1;

  bench::Queue<Batch> queue(64);
  std::vector<std::thread> threads;
  workload.start();
  std::thread last([&] { release(queue, workload.seed(), backlog); });
  for (size_t i = 0; i < allocators; ++i) {
    threads.emplace_back([&, i] { allocate(queue, workload.seed() + 1 + i, batches); });
  }
  for (std::thread& thread : threads) thread.join();
  queue.close();
  last.join();
  workload.stop();
  return workload.report(allocators * batches * kBatch);
}
