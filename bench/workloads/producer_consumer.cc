// Some threads allocate, others free what they are handed, in batches through one bounded queue: every object crosses
// threads, and what the consumers free must find its way back to the producers.
//
// Operation: one object from malloc in one thread to free in another.
#include <array>
#include <thread>

#include "harness.h"
#include "queue.h"

namespace {

constexpr size_t kBatch = 256;
using Batch = std::array<void*, kBatch>;

void produce(bench::Queue<Batch>& queue, uint64_t seed, size_t batches) {
  bench::Random random(seed);
  Batch batch;
  for (size_t i = 0; i < batches; ++i) {
    for (void*& object : batch) object = bench::take_and_write(random.between(16, 256), i);
    queue.push(batch);
  }
}

void consume(bench::Queue<Batch>& queue) {
  Batch batch;
  while (queue.pop(batch)) {
    for (void* object : batch) bench::give(object);
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("producer_consumer", argc, argv);
  const size_t producers = workload.count("producers", 1);
  const size_t consumers = workload.count("consumers", 1);
  const size_t batches = workload.scaled(60'000, 400) / producers + 1;

  bench::Queue<Batch> queue(64);
  std::vector<std::thread> sources;
  std::vector<std::thread> sinks;
  workload.start();
  for (size_t i = 0; i < consumers; ++i) sinks.emplace_back([&] { consume(queue); });
  for (size_t i = 0; i < producers; ++i) {
    sources.emplace_back([&, i] { produce(queue, workload.seed() + i, batches); });
  }
  for (std::thread& thread : sources) thread.join();
  queue.close();
  for (std::thread& thread : sinks) thread.join();
  workload.stop();
  return workload.report(producers * batches * kBatch);
}
