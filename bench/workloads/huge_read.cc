// A gibibyte of small objects that lasts, read in random order: every read misses the caches, and on small pages the
// TLB as well. With --sparse, nine objects in ten are freed again, scattered, and the memory that stays is what counts.
//
// Under poolmalloc it says at the end how much of the heap lies on huge pages (huge_share, by pm_metric_get),
// and with --collapse it calls pm_collapse before it reads, as a program may that has built its data.
//
// Operation: one read. Fields: build_seconds, resident_kib after the building, best_ns_per_op in the fastest fiftieth
// of the reads, which a busy machine disturbs least.
#include <dlfcn.h>

#include <vector>

#include "harness.h"

namespace {

double metric(const char* name) {
  using Get = int (*)(const char*, unsigned long long*);
  const auto get = reinterpret_cast<Get>(dlsym(RTLD_DEFAULT, "pm_metric_get"));
  unsigned long long value = 0;
  return get != nullptr && get(name, &value) == 0 ? static_cast<double>(value) : 0;
}

double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void collapse(unsigned milliseconds) {
  using Collapse = size_t (*)(unsigned);
  const auto call = reinterpret_cast<Collapse>(dlsym(RTLD_DEFAULT, "pm_collapse"));
  if (call != nullptr) call(milliseconds);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("huge_read", argc, argv);
  const bool sparse = workload.flag("sparse");
  const auto patience = static_cast<unsigned>(workload.number("collapse", 0));  // milliseconds
  const size_t size = workload.count("size", 256);
  const size_t mib = workload.count("mib", 1024);
  const size_t count = (workload.smoke() ? 8 : mib) * (size_t{1} << 20) / size;
  const size_t reads = workload.scaled(30'000'000, 100'000);

  bench::Random random(workload.seed());
  const double began = seconds();
  std::vector<uint64_t*> objects(count);
  for (uint64_t*& object : objects) {
    object = static_cast<uint64_t*>(bench::take(size));
    std::memset(object, 1, size);
  }
  if (sparse) {
    size_t kept = 0;
    for (uint64_t* object : objects) {
      if (random.one_in(10)) {
        objects[kept++] = object;
      } else {
        bench::give(object);
      }
    }
    objects.resize(kept);
  }
  if (patience != 0) collapse(patience);
  workload.field("build_seconds", seconds() - began);
  workload.field("resident_kib", bench::resident_kib());

  uint64_t sum = 0;
  constexpr size_t kSlices = 50;
  double best = 1e9;
  workload.start();
  for (size_t slice = 0; slice < kSlices; ++slice) {
    const double before = seconds();
    // The next place depends on what was read, as in a search: the reads do not overlap.
    for (size_t i = slice * reads / kSlices; i < (slice + 1) * reads / kSlices; ++i) {
      sum += objects[(random.below(objects.size()) + sum) % objects.size()][0] & 1;
    }
    const double took = seconds() - before;
    best = took < best ? took : best;
  }
  workload.stop();
  workload.field("best_ns_per_op", best * 1e9 * kSlices / static_cast<double>(reads));
  bench::check(sum == reads, "reading back what was written");
  const double eligible = metric("huge_eligible_bytes");
  workload.field("huge_share", eligible == 0 ? 0 : metric("huge_bytes") / eligible);
  for (uint64_t* object : objects) bench::give(object);
  return workload.report(reads);
}
