// A batch of objects is allocated, then all of it is freed: in the order of allocation (as a queue does) or, with
// --reverse, newest first (as a stack does). Equal sizes when --low equals --high.
//
// Operation: one malloc with its free.
#include <vector>

#include "harness.h"

int main(int argc, char** argv) {
  bench::Workload workload("batch", argc, argv);
  const size_t objects = workload.count("objects", 1000);
  const size_t low = workload.count("low", 16);
  const size_t high = workload.count("high", 1000);
  const bool reverse = workload.flag("reverse");
  const size_t rounds = workload.scaled(60'000'000 / objects, 300'000 / objects);

  // Sizes are drawn beforehand: the generator would be a good part of the time otherwise.
  bench::Random random(workload.seed());
  std::vector<uint32_t> sizes(objects * 8);
  for (uint32_t& size : sizes) size = static_cast<uint32_t>(random.between(low, high));
  std::vector<void*> batch(objects);

  workload.start();
  for (size_t round = 0; round < rounds; ++round) {
    const uint32_t* size = &sizes[round % 8 * objects];
    for (size_t i = 0; i < objects; ++i) batch[i] = bench::take_and_write(size[i], i);
    if (reverse) {
      for (size_t i = objects; i-- > 0;) bench::give(batch[i]);
    } else {
      for (size_t i = 0; i < objects; ++i) bench::give(batch[i]);
    }
  }
  workload.stop();
  return workload.report(rounds * objects);
}
