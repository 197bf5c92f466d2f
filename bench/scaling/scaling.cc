// What an allocator costs in count, not in time, as threads become more: locked instructions, cache lines that go from
// CPU to CPU, system calls and waits. The work is that of workloads/server.cc on two CPUs: each thread replaces random
// objects of its own, and one in eight is swapped with another thread's (`--given 0`: none). The live objects and the
// operations are the same in all for any number of threads; a thread gives up its CPU after every 64.
//
// Operation: one free with the malloc that takes its place.
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include <atomic>
#include <vector>

#include "../workloads/harness.h"
#include "counters.h"

namespace {

constexpr size_t kMailboxes = 64;
constexpr size_t kBurst = 64;

struct Shared {
  alignas(64) std::atomic<void*> mailbox[kMailboxes] = {};
  pthread_barrier_t barrier;
  size_t warm_up, operations, given;
};

struct Worker {
  Shared* shared;
  uint64_t seed;
  std::vector<void*> table;
  bench::Counts counts;
};

void replace(Worker& worker, bench::Random& random, size_t operations) {
  for (size_t i = 0; i < operations; ++i) {
    void*& object = worker.table[random.below(worker.table.size())];
    if (worker.shared->given != 0 && random.one_in(worker.shared->given)) {
      object = worker.shared->mailbox[random.below(kMailboxes)].exchange(object);
    }
    bench::give(object);
    object = bench::take_and_write(random.log_between(16, 512), i);
    if (i % kBurst == kBurst - 1) bench::own_system_call(SYS_sched_yield);
  }
}

void* work(void* data) {
  Worker& worker = *static_cast<Worker*>(data);
  bench::Random random(worker.seed);
  replace(worker, random, worker.table.size() + worker.shared->warm_up);
  pthread_barrier_wait(&worker.shared->barrier);  // the main thread sets its breakpoints
  pthread_barrier_wait(&worker.shared->barrier);
  bench::begin();
  replace(worker, random, worker.shared->operations);
  bench::end(worker.counts);
  pthread_barrier_wait(&worker.shared->barrier);
  pthread_barrier_wait(&worker.shared->barrier);  // and takes them away
  return nullptr;
}

void use_two_cpus() {
  cpu_set_t allowed, two;
  bench::check(sched_getaffinity(0, sizeof allowed, &allowed) == 0, "sched_getaffinity");
  CPU_ZERO(&two);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&two) < 2; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &two);
  }
  bench::check(sched_setaffinity(0, sizeof two, &two) == 0, "sched_setaffinity");
}

void report_calls(const bench::Counts& sum, double thousands, bench::Workload& workload) {
  char key[32];
  for (size_t i = 0; i < bench::kSystemCalls; ++i) {
    if (sum.by_number[i] == 0) continue;
    std::snprintf(key, sizeof key, "call_%zu", i);
    workload.field(key, sum.by_number[i] / thousands);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "--libraries") == 0) {
    bench::print_libraries();
    return 0;
  }
  // The list of locked instructions comes first; with "-" the system calls are counted.
  bench::check(argc > 1, "finding the list of instructions (scripts/bench scaling makes it)");
  const char* const list = argv[1];
  bench::Workload workload("scaling", argc - 1, argv + 1);
  Shared shared;
  const size_t threads = workload.count("threads", 2);
  shared.given = static_cast<size_t>(workload.number("given", 8));
  const size_t live = workload.smoke() ? 4'000 : 100'000;
  shared.operations = workload.scaled(400'000, 8'000) / threads + 1;
  shared.warm_up = shared.operations;
  use_two_cpus();
  bench::check(pthread_barrier_init(&shared.barrier, nullptr, static_cast<unsigned>(threads) + 1) == 0, "a barrier");

  std::vector<Worker> workers(threads);
  std::vector<pthread_t> handles(threads);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 << 10);
  workload.start();
  for (size_t i = 0; i < threads; ++i) {
    workers[i] = {&shared, workload.seed() + i, std::vector<void*>(live / threads + 1), {}};
    bench::check(pthread_create(&handles[i], &attributes, work, &workers[i]) == 0, "pthread_create");
  }
  pthread_barrier_wait(&shared.barrier);
  if (std::strcmp(list, "-") == 0) {
    bench::arm_system_calls();
  } else {
    bench::arm_locked(list);
  }
  pthread_barrier_wait(&shared.barrier);
  pthread_barrier_wait(&shared.barrier);
  workload.stop();
  if (std::strcmp(list, "-") != 0) bench::disarm_locked();
  pthread_barrier_wait(&shared.barrier);
  for (const pthread_t handle : handles) pthread_join(handle, nullptr);

  bench::Counts sum = {};
  for (const Worker& worker : workers) {
    sum.locked += worker.counts.locked;
    sum.moved += worker.counts.moved;
    sum.futex_waits += worker.counts.futex_waits;
    sum.futex_wakes += worker.counts.futex_wakes;
    sum.system_calls += worker.counts.system_calls;
    for (size_t i = 0; i < bench::kSystemCalls; ++i) sum.by_number[i] += worker.counts.by_number[i];
  }
  const uint64_t operations = shared.operations * threads;
  const double thousands = static_cast<double>(operations) / 1000;
  const bench::SharedLines lines = bench::shared_lines();
  workload.field("locked", static_cast<double>(sum.locked) / thousands);
  workload.field("moved", static_cast<double>(sum.moved) / thousands);
  workload.field("lines", static_cast<double>(lines.written));
  workload.field("lines_by_cpus", static_cast<double>(lines.by_cpus));
  workload.field("lines_by_threads", static_cast<double>(lines.by_threads));
  workload.field("system_calls", static_cast<double>(sum.system_calls) / thousands);
  workload.field("futex_waits", static_cast<double>(sum.futex_waits) / thousands);
  workload.field("futex_wakes", static_cast<double>(sum.futex_wakes) / thousands);
  report_calls(sum, thousands, workload);
  return workload.report(operations);
}
