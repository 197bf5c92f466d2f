// A server after Larson and Krishnan: worker threads replace random objects in tables of their own, now and then swap
// one with another worker, and end after a while; the thread that follows inherits the table, and with it the objects
// that the dead thread (and the ones before it) allocated.
//
// Operation: one free with the malloc that takes its place.
#include <atomic>
#include <thread>
#include <vector>

#include "harness.h"

namespace {

constexpr size_t kMailboxes = 64;

struct Shared {
  alignas(64) std::atomic<void*> mailbox[kMailboxes] = {};
};

void work(Shared& shared, std::vector<void*>& table, uint64_t seed, size_t replacements) {
  bench::Random random(seed);
  for (size_t i = 0; i < replacements; ++i) {
    void*& object = table[random.below(table.size())];
    if (random.one_in(8)) object = shared.mailbox[random.below(kMailboxes)].exchange(object);
    bench::give(object);  // free(NULL), from a mailbox nobody has used yet, is part of the game
    object = bench::take_and_write(random.log_between(16, 512), i);
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("server", argc, argv);
  const size_t threads = workload.count("threads", 8);
  const size_t objects = workload.count("objects", workload.smoke() ? 1'000 : 10'000);
  const size_t generations = workload.count("generations", workload.smoke() ? 3 : 20);
  const size_t replacements = workload.scaled(30'000'000, 100'000) / (threads * generations) + 1;

  bench::Random random(workload.seed());
  Shared shared;
  std::vector<std::vector<void*>> tables(threads, std::vector<void*>(objects));
  for (std::vector<void*>& table : tables) {
    for (void*& object : table) object = bench::take_and_write(random.log_between(16, 512), 1);
  }

  workload.start();
  std::vector<std::thread> workers;
  for (size_t i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] { work(shared, tables[i], workload.seed() + i, replacements); });
  }
  for (size_t next = threads; next < threads * generations; ++next) {
    const size_t heir = next % threads;
    workers[heir].join();
    workers[heir] = std::thread([&, next, heir] { work(shared, tables[heir], workload.seed() + next, replacements); });
  }
  for (std::thread& worker : workers) worker.join();
  workload.stop();

  for (const std::vector<void*>& table : tables) {
    for (void* object : table) bench::give(object);
  }
  for (const std::atomic<void*>& object : shared.mailbox) bench::give(object.load());
  return workload.report(threads * generations * replacements);
}
