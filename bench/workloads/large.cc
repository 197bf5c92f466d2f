// Objects of 64 KiB to 64 MiB, a handful alive at a time. With --touch each page is written once, as a program that
// uses the memory would do; without it only the allocator and the system calls it makes are measured.
//
// Operation: one malloc with its free.
#include "harness.h"

int main(int argc, char** argv) {
  bench::Workload workload("large", argc, argv);
  const bool touch = workload.flag("touch");
  const size_t largest = workload.count("largest_mib", workload.smoke() ? 2 : 64) << 20;
  const size_t objects = touch ? workload.scaled(500, 60) : workload.scaled(300'000, 2'000);

  bench::Random random(workload.seed());
  constexpr size_t kAlive = 6;
  void* alive[kAlive] = {};
  workload.start();
  for (size_t i = 0; i < objects; ++i) {
    void*& object = alive[random.below(kAlive)];
    bench::give(object);
    const size_t size = random.log_between(64 << 10, largest / 2);
    object = bench::take(size);
    if (touch) {
      for (size_t at = 0; at < size; at += 4096) static_cast<volatile char*>(object)[at] = 1;
    }
  }
  workload.stop();
  for (void* object : alive) bench::give(object);
  return workload.report(objects);
}
