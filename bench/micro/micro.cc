// Single functions of the library, each alone: nanoseconds and ticks of the counter by Google Benchmark, instructions
// by stepping through them. In the mode of magazines that POOLMALLOC_MAGAZINE says; what needs the other mode is left
// out.
//
// Usage: bench-micro [--instructions N] [options of Google Benchmark]
// With --instructions, prints a line of JSON for each operation and ends: N turns are counted of each.
#include <benchmark/benchmark.h>
#include <sched.h>
#include <x86intrin.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "heap/heap.h"
#include "instructions.h"
#include "operations.h"

namespace {

constexpr uint64_t kTurns = 100;  // between two looks at the clock

bool possible(const bench::Operation& operation) {
  const bool rseq = pm::magazine_mode() == pm::MagazineMode::rseq;
  return operation.needs == bench::Needs::nothing || (operation.needs == bench::Needs::rseq) == rseq;
}

void measure(benchmark::State& state, const bench::Operation& operation) {
  // Called several times for each, first to find out how many turns it takes.
  static const bench::Operation* prepared = nullptr;
  if (prepared != &operation) operation.prepare();
  prepared = &operation;
  operation.run(kTurns);
  const uint64_t start = __rdtsc();
  while (state.KeepRunningBatch(kTurns)) operation.run(kTurns);
  state.counters["ticks"] =
      static_cast<double>(__rdtsc() - start) / static_cast<double>(state.iterations()) / operation.parts;
  state.counters["parts"] = operation.parts;
}

int count_instructions(uint64_t turns) {
  for (const bench::Operation& operation : bench::operations()) {
    if (!possible(operation)) continue;
    const uint64_t fewer = turns / operation.parts + 1;
    const double count = bench::instructions_per_turn(operation.prepare, operation.run, fewer) / operation.parts;
    if (count < 0) {
      std::fprintf(stderr, "bench-micro: cannot count the instructions of \"%s\"\n", operation.name);
      return 1;
    }
    std::printf("{\"name\":\"%s\",\"instructions\":%.3f}\n", operation.name, count);
  }
  return 0;
}

// The operations look at one CPU's magazines.
void stay_on_one_cpu() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  sched_setaffinity(0, sizeof one, &one);
}

}  // namespace

int main(int argc, char** argv) {
  stay_on_one_cpu();
  if (!pm::start_heap()) {
    std::fprintf(stderr, "bench-micro: the heap does not start\n");
    return 1;
  }
  if (argc == 3 && std::strcmp(argv[1], "--instructions") == 0) {
    const long turns = std::atol(argv[2]);
    return turns > 0 ? count_instructions(static_cast<uint64_t>(turns)) : 2;
  }
  for (const bench::Operation& operation : bench::operations()) {
    if (possible(operation)) benchmark::RegisterBenchmark(operation.name, measure, std::ref(operation));
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
