// Zeroed memory: mostly small records, some tables of which only a part is ever used, now and then a large one. Reads
// what it gets, so an allocator that hands out stale bytes fails here.
//
// Operation: one free with the calloc that takes its place.
#include <vector>

#include "harness.h"

int main(int argc, char** argv) {
  bench::Workload workload("calloc_mix", argc, argv);
  const size_t objects = workload.count("objects", workload.smoke() ? 500 : 5'000);
  const size_t replacements = workload.scaled(8'000'000, 40'000);

  bench::Random random(workload.seed());
  std::vector<void*> table(objects);
  workload.start();
  for (size_t i = 0; i < replacements; ++i) {
    const size_t size = random.one_in(1000) ? random.log_between(128 << 10, 512 << 10)
                        : random.one_in(50) ? random.log_between(2 << 10, 32 << 10)
                                            : random.log_between(16, 512);
    void*& object = table[random.below(objects)];
    bench::give(object);
    object = std::calloc(1, size);
    bench::check(object != nullptr, "calloc");
    bench::keep(object);
    unsigned char* bytes = static_cast<unsigned char*>(object);
    bench::check(bytes[0] == 0 && bytes[size / 2] == 0 && bytes[size - 1] == 0, "finding zeroes in memory from calloc");
    std::memset(bytes, 0xFF, size / 4);
    bytes[size - 1] = 0xFF;
    bench::keep(object);
  }
  workload.stop();
  for (void* object : table) bench::give(object);
  return workload.report(replacements);
}
