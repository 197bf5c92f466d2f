// One object of one size, allocated and freed at once: the length of the hot path and nothing else.
//
// Operation: one malloc with its free.
#include "harness.h"

int main(int argc, char** argv) {
  bench::Workload workload("pair", argc, argv);
  const size_t size = workload.count("size", 64);
  const size_t pairs = workload.scaled(200'000'000, 1'000'000);

  workload.start();
  for (size_t i = 0; i < pairs; ++i) bench::give(bench::take(size));
  workload.stop();
  return workload.report(pairs);
}
