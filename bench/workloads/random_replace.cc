// A table of live objects, in which a random one is replaced over and over: the steady state of a program with a heap
// larger than the caches. Also asks how well objects freed in random order are found again.
//
// Operation: one free with the malloc that takes its place.
#include <vector>

#include "harness.h"

int main(int argc, char** argv) {
  bench::Workload workload("random_replace", argc, argv);
  const size_t asked = workload.count("objects", 100'000);
  const size_t objects = workload.smoke() ? 10'000 : asked;
  const size_t low = workload.count("low", 16);
  const size_t high = workload.count("high", 512);
  const size_t replacements = workload.scaled(workload.count("replacements", 15'000'000), 200'000);

  bench::Random random(workload.seed());
  std::vector<void*> table(objects);
  for (void*& object : table) object = bench::take_and_write(random.between(low, high), 1);

  workload.start();
  for (size_t i = 0; i < replacements; ++i) {
    void*& object = table[random.below(objects)];
    bench::give(object);
    object = bench::take_and_write(random.between(low, high), i);
  }
  workload.stop();
  for (void* object : table) bench::give(object);
  return workload.report(replacements);
}
