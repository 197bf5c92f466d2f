// Do objects of different threads share cache lines? After Berger's cache-scratch and cache-thrash: each thread writes
// many times to a small object of its own, frees it and takes another. Active: the objects come from the threads
// themselves, and sharing is the allocator's doing. Passive (--passive): the first ones come from one thread that
// packed them side by side; freed by their users, are they given out to them again and keep the line shared?
//
// Operation: one write.
#include <atomic>
#include <thread>
#include <vector>

#include "harness.h"

int main(int argc, char** argv) {
  bench::Workload workload("false_sharing", argc, argv);
  const bool passive = workload.flag("passive");
  const size_t threads = workload.count("threads", 2);
  const size_t size = workload.count("size", 8);
  const size_t writes = workload.count("writes", 1'000);
  const size_t rounds = workload.scaled(400'000, 1'000);

  std::vector<void*> first(threads);
  if (passive) {
    for (void*& object : first) object = bench::take(size);
  }
  std::atomic<size_t> ready = 0;
  const auto work = [&](void* object) {
    // All start together: one that ends before the next begins shares nothing.
    for (ready.fetch_add(1); ready.load() < threads;) std::this_thread::yield();
    if (object == nullptr) object = bench::take(size);
    for (size_t round = 0; round < rounds; ++round) {
      volatile char* byte = static_cast<volatile char*>(object);
      for (size_t i = 0; i < writes; ++i) *byte = static_cast<char>(*byte + 1);
      bench::give(object);
      object = bench::take(size);
    }
    bench::give(object);
  };

  workload.start();
  std::vector<std::thread> workers;
  for (void* object : first) workers.emplace_back(work, object);
  for (std::thread& worker : workers) worker.join();
  workload.stop();
  return workload.report(threads * rounds * writes);
}
