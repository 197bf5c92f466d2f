// Tail latency: times every single malloc and free of a mixed server load in several threads. Requests allocate a few
// objects and free them; sessions live on and are replaced in random order, by any thread; now and then a large buffer
// is needed. Prints p50 to p99.99 and the worst of malloc and of free, in nanoseconds.
//
// A time includes the reading of the counter, whose own cost is reported as clock_ns and not subtracted. The worst
// values on a machine with more threads than CPUs are mostly the scheduler's.
//
// Operation: one malloc or one free.
#include <atomic>
#include <thread>
#include <vector>

#include "../workloads/harness.h"
#include "histogram.h"
#include "ticks.h"

namespace {

using bench::ticks;

struct Times {
  bench::Histogram malloc;
  bench::Histogram free;
};

void* timed_malloc(Times& times, size_t size) {
  const uint64_t start = ticks();
  void* object = std::malloc(size);
  times.malloc.record(ticks() - start);
  bench::check(object != nullptr, "malloc");
  bench::keep(object);
  *static_cast<volatile char*>(object) = 1;
  return object;
}

void timed_free(Times& times, void* object) {
  if (object == nullptr) return;
  bench::keep(object);
  const uint64_t start = ticks();
  std::free(object);
  times.free.record(ticks() - start);
}

void serve(Times& times, std::vector<std::atomic<void*>>& sessions, uint64_t seed, size_t requests) {
  bench::Random random(seed);
  void* parts[12];
  for (size_t request = 0; request < requests; ++request) {
    const size_t used = random.between(1, std::size(parts));
    for (size_t i = 0; i < used; ++i) parts[i] = timed_malloc(times, random.log_between(16, 1024));
    void* session = timed_malloc(times, random.log_between(64, 4096));
    timed_free(times, sessions[random.below(sessions.size())].exchange(session));
    if (random.one_in(500)) timed_free(times, timed_malloc(times, random.log_between(32 << 10, 1 << 20)));
    for (size_t i = 0; i < used; ++i) timed_free(times, parts[i]);
  }
}

void report(bench::Workload& workload, const char* call, const bench::Histogram& histogram) {
  constexpr struct {
    const char* name;
    double part;
  } kQuantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};
  char key[32];
  for (const auto& quantile : kQuantiles) {
    std::snprintf(key, sizeof key, "%s_%s_ns", call, quantile.name);
    workload.field(key, static_cast<double>(histogram.quantile(quantile.part)) / workload.ticks_per_ns());
  }
  std::snprintf(key, sizeof key, "%s_worst_ns", call);
  workload.field(key, static_cast<double>(histogram.worst()) / workload.ticks_per_ns());
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("latency", argc, argv);
  const size_t threads = workload.count("threads", 4);
  const size_t objects = workload.count("sessions", workload.smoke() ? 1'000 : 50'000);
  const size_t requests = workload.scaled(1'500'000, 8'000) / threads + 1;

  std::vector<std::atomic<void*>> sessions(objects);
  std::vector<Times> times(threads);
  workload.start();
  std::vector<std::thread> workers;
  for (size_t i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] { serve(times[i], sessions, workload.seed() + i, requests); });
  }
  for (std::thread& worker : workers) worker.join();
  workload.stop();

  Times all;
  for (const Times& one : times) {
    all.malloc.merge(one.malloc);
    all.free.merge(one.free);
  }
  bench::Histogram clock;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t start = ticks();
    clock.record(ticks() - start);
  }
  workload.field("clock_ns", static_cast<double>(clock.quantile(0.5)) / workload.ticks_per_ns());
  report(workload, "malloc", all.malloc);
  report(workload, "free", all.free);
  for (std::atomic<void*>& session : sessions) bench::give(session.load());
  return workload.report(all.malloc.total() + all.free.total());
}
