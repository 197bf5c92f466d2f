// worker*.cc, admit.cc and engine.cc in a heap as a process has it: marks, limits, rounds.
#include "reclaim/worker.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "heap/heap.h"
#include "magazine/depot.h"
#include "os/process.h"
#include "page/exposure.h"
#include "runtime/runtime.h"
#include "slab/slab.h"
#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

const void* here() { return reinterpret_cast<const void*>(&trim_heap); }

// Objects of a size that slabs have, touched.
std::vector<void*> fill(size_t bytes, size_t size) {
  std::vector<void*> objects;
  for (size_t done = 0; done < bytes; done += size) {
    void* const p = allocate(size);
    if (p == nullptr) break;
    memset(p, 1, size);
    objects.push_back(p);
  }
  return objects;
}

void empty(std::vector<void*>& objects) {
  for (void* p : objects) deallocate(p, here());
  objects.clear();
}

template <typename Done>
bool eventually(Done done) {
  for (int i = 0; i < 1000 && !done(); ++i) usleep(10'000);
  return done();
}

TEST_CASE("a small heap has no worker and no mark is met") {
  in_fresh_process([] {
    if (!start_heap()) return;
    std::vector<void*> objects = fill(3 * kMiB, 1000);
    EXPECT(!is_over_mark() && worker_state() == WorkerState::none && !worker_was_started());
    PressureView view;
    EXPECT(!pressure_view(view));
    empty(objects);
  });
}

TEST_CASE("an old process has a worker though its heap is small, and a forked child is young again") {
  in_fresh_process([] {
    if (!start_heap()) return;
    std::vector<void*> objects = fill(6 * kMiB, 1000);
    EXPECT(is_over_mark() && worker_state() == WorkerState::none);
    usleep(1'200'000);
    void* const p = allocate(200'000);
    if (worker_state() == WorkerState::none) return;  // no such threads here
    EXPECT(worker_state() == WorkerState::running && worker_statistics().starts == 1);
    before_fork();
    const pid_t child = fork();
    if (child == 0) {
      after_fork_child();
      deallocate(p, here());
      EXPECT(is_over_mark() && allocate(200'000) != nullptr && worker_state() == WorkerState::none);
      _exit(0);
    }
    after_fork_parent();
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(worker_state() == WorkerState::running);
    empty(objects);
  });
}

TEST_CASE("without an age to go by, only size starts the worker") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER_START_SECONDS", "0", 1);
    if (!start_heap()) return;
    std::vector<void*> objects = fill(7 * kMiB, 1000);
    EXPECT(!is_over_mark());
    empty(objects);
  });
}

TEST_CASE("a worker comes to look at the limit, and stays where the heap is large for it") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER_START_SECONDS", "0", 1);
    if (!start_heap()) return;
    set_own_limits(64 * 32 * kMiB, 0);  // a heap of 64 MiB is worth a worker
    std::vector<void*> objects = fill(16 * kMiB, 1000);
    if (worker_statistics().starts == 0) {  // no such threads here: then not before the heap is large
      std::vector<void*> large = fill(64 * kMiB, 1000);
      EXPECT(worker_state() == WorkerState::slices);
      return;
    }
    EXPECT(eventually([] { return worker_state() == WorkerState::none; }));
    PressureView view;
    EXPECT(!is_over_mark() && !pressure_view(view));
    std::vector<void*> more = fill(8 * kMiB, 1000);
    EXPECT(worker_statistics().starts == 1);
    // Less memory makes the same heap worth one, at the next slow path.
    set_own_limits(256 * kMiB, 0);
    void* const p = allocate(kMiB);
    EXPECT(eventually([&] { return pressure_view(view); }));
    EXPECT(worker_state() == WorkerState::running && worker_statistics().starts == 2);
    EXPECT(view.limit_bytes == 256 * kMiB);
    deallocate(p, here());
    empty(more);
    empty(objects);
  });
}

TEST_CASE("who wants no worker for small heaps says so") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER_START_BYTES", "1t", 1);
    setenv("POOLMALLOC_WORKER_START_SECONDS", "0", 1);
    if (!start_heap()) return;
    set_own_limits(256 * kMiB, 0);
    std::vector<void*> objects = fill(96 * kMiB, 50'000);
    EXPECT(worker_state() == WorkerState::none && !worker_was_started());
    empty(objects);
  });
}

TEST_CASE("exposure is what is in use or free and resident") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER_START_BYTES", "1t", 1);
    if (!start_heap()) return;
    const uint64_t before = exposed_bytes();
    void* const p = allocate(8 * kMiB);
    EXPECT(exposed_bytes() == before + 8 * kMiB);
    deallocate(p, here());
    EXPECT(exposed_bytes() == before + 8 * kMiB);  // dirty
    EXPECT(allocate(8 * kMiB) == p && exposed_bytes() == before + 8 * kMiB);
    deallocate(p, here());
    EXPECT(page_trim(SIZE_MAX) >= 8 * kMiB && exposed_bytes() <= before);
    PageStatistics now;
    page_collect(now);
    EXPECT(exposed_bytes() == now.committed_bytes - now.clean_bytes);
  });
}

TEST_CASE("a hard limit makes requests fail, and the program goes on") {
  in_fresh_process([] {
    setenv("POOLMALLOC_LIMIT_HARD", "64m", 1);
    setenv("POOLMALLOC_WORKER", "off", 1);
    if (!start_heap()) return;
    // Slabs of many sizes, large objects, growing in place, zeroed memory: nothing passes.
    for (const size_t size : {size_t{100}, size_t{3000}, size_t{20'000}, size_t{200'000}, size_t{3'000'000}}) {
      std::vector<void*> objects = fill(200 * kMiB, size);
      EXPECT(objects.size() * size < 64 * kMiB && objects.size() * size > 48 * kMiB);
      EXPECT(exposed_bytes() <= 64 * kMiB);
      EXPECT(allocate_zeroed(8 * kMiB) == nullptr && allocate_aligned(4096, 8 * kMiB) == nullptr);
      void* const last = objects.back();
      if (size > kMaxClassSize) {
        EXPECT(reallocate(last, 80 * kMiB, here()) == nullptr && static_cast<char*>(last)[size - 1] == 1);
      }
      empty(objects);
    }
    // What is free is given back first: the whole limit is there again.
    void* const whole = allocate(60 * kMiB);
    EXPECT(whole != nullptr);
    memset(whole, 1, 60 * kMiB);
    EXPECT(allocate(8 * kMiB) == nullptr);
    // The reserve: large requests fail, small ones still pass for a while.
    size_t more = 0;
    while (allocate(64 * kKiB) != nullptr) ++more;
    EXPECT(more > 0 && more < 64);
    unsigned small = 0;
    while (small < 100'000 && allocate(200) != nullptr) ++small;
    EXPECT(small > 1000 && small < 100'000);
    EXPECT(exposed_bytes() <= 64 * kMiB);
    EXPECT(worker_statistics().refusals > 0);
    // Raised, it works again; without one, everything does.
    set_own_limits(0, 128 * kMiB);
    EXPECT(allocate(30 * kMiB) != nullptr && allocate(60 * kMiB) == nullptr);
    set_own_limits(0, 0);
    EXPECT(allocate(200 * kMiB) != nullptr);
  });
}

TEST_CASE("a limit below what is in use refuses more, not what is there") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER", "off", 1);
    if (!start_heap()) return;
    std::vector<void*> objects = fill(20 * kMiB, 500);
    set_own_limits(0, kMiB);
    EXPECT(allocate(kMiB) == nullptr);
    for (size_t i = 0; i < objects.size(); i += 2) deallocate(objects[i], here());
    // Slots that came free in slabs serve on.
    for (size_t i = 0; i < objects.size(); i += 2) EXPECT((objects[i] = allocate(500)) != nullptr);
    empty(objects);
  });
}

TEST_CASE("the worker starts with a large heap and gives back what is not wanted, and a soft limit hurries it") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER_START_BYTES", "8m", 1);
    if (!start_heap()) return;
    errno = 5;
    std::vector<void*> objects = fill(96 * kMiB, 50'000);
    EXPECT(errno == 5);
    if (worker_state() == WorkerState::slices) return;  // no such threads here
    EXPECT(worker_state() == WorkerState::running && worker_was_started());
    PressureView view;
    EXPECT(eventually([&] { return pressure_view(view) && view.exposed_bytes > 96 * kMiB; }));
    EXPECT(view.sample.resident_bytes > 96 * kMiB);
    // Far more than the limit is in use: emergency is told at the next look, and that is asked for at once.
    set_own_limits(64 * kMiB, 0);
    EXPECT(eventually([&] { return pressure_view(view) && view.level == PressureLevel::emergency; }));
    EXPECT(view.limit_bytes == 64 * kMiB && view.usage_bytes > 96 * kMiB && view.wanted_bytes > 0);
    set_own_limits(400 * kMiB, 0);
    empty(objects);
    EXPECT(eventually([&] { return pressure_view(view) && view.level == PressureLevel::calm; }));
    set_own_limits(40 * kMiB, 0);
    EXPECT(eventually([&] { return page_figures().dirty_bytes < 8 * kMiB; }));
    const WorkerStatistics now = worker_statistics();
    EXPECT(now.starts == 1 && now.cpu_ns > 0);
    worker_stop();
    EXPECT(worker_state() == WorkerState::none);
    // The next reason starts it again: at once, which may be too early to be worth it, and for good when the heap is
    // large.
    objects = fill(96 * kMiB, 50'000);
    EXPECT(eventually([] { return worker_state() == WorkerState::running; }) && worker_statistics().starts >= 2);
  });
}

TEST_CASE("an allocation that would cross the limit makes room itself first") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER_START_BYTES", "8m", 1);
    setenv("POOLMALLOC_MEMORY_PRICE", "0", 1);  // nothing goes back by itself
    setenv("POOLMALLOC_DIRTY_BYTES", "1g", 1);
    if (!start_heap()) return;
    std::vector<void*> objects = fill(128 * kMiB, 1'000'000);
    if (worker_state() == WorkerState::slices) return;
    PressureView view;
    EXPECT(eventually([&] { return pressure_view(view); }));
    const uint64_t resident = os::process_resident_bytes();
    // Room for 64 MiB more; then 128 MiB come free, but of sizes that cannot serve what is asked for next.
    set_own_limits(resident * 2, 0);
    EXPECT(eventually([&] { return pressure_view(view) && view.limit_bytes == resident * 2; }));
    for (size_t i = 0; i < objects.size(); i += 2) deallocate(objects[i], here());
    std::vector<void*> more;
    uint64_t highest = 0;
    for (int i = 0; i < 60; ++i) {
      void* const p = allocate(3 * kMiB);
      EXPECT(p != nullptr);
      memset(p, 1, 3 * kMiB);
      more.push_back(p);
      const uint64_t now = os::process_resident_bytes();
      highest = now > highest ? now : highest;
    }
    // Live memory is 64 + 180 MiB, and fits; with what is free it would not have.
    EXPECT(highest <= resident * 2);
    const uint64_t given = reclaim_counters.released_bytes[static_cast<unsigned>(Reason::emergency)].load() +
                           reclaim_counters.released_bytes[static_cast<unsigned>(Reason::limit_near)].load() +
                           reclaim_counters.released_bytes[static_cast<unsigned>(Reason::pressure)].load();
    EXPECT(given > 0);
  });
}

TEST_CASE("fork handlers park the worker, and the child starts its own") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER_START_BYTES", "8m", 1);
    if (!start_heap()) return;
    std::vector<void*> objects = fill(32 * kMiB, 50'000);
    if (worker_state() == WorkerState::slices) return;
    for (int i = 0; i < 20; ++i) {
      before_fork();
      const pid_t child = fork();
      if (child == 0) {
        after_fork_child();
        EXPECT(worker_state() == WorkerState::none && !worker_was_started());
        empty(objects);
        objects = fill(64 * kMiB, 50'000);
        EXPECT(worker_state() == WorkerState::running && worker_statistics().starts == 1);
        _exit(0);
      }
      after_fork_parent();
      int status = -1;
      EXPECT(waitpid(child, &status, 0) == child && status == 0);
    }
    EXPECT(worker_state() == WorkerState::running);
  });
}

TEST_CASE("without a worker, slow paths do its work") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER_START_BYTES", "8m", 1);
    setenv("POOLMALLOC_WORKER", "off", 1);
    if (!start_heap()) return;
    std::vector<void*> objects = fill(96 * kMiB, 50'000);
    EXPECT(worker_state() == WorkerState::slices);
    PressureView view;
    EXPECT(pressure_view(view) && view.rounds >= 1);
    empty(objects);
    EXPECT(eventually([&] {
      deallocate(allocate(200'000), here());
      return page_figures().dirty_bytes < 16 * kMiB;
    }));
    EXPECT(pressure_round());
  });
}

TEST_CASE("the budget is what time brings, saved up for ten seconds") {
  CpuBudget budget;
  budget.configure(10);
  constexpr uint64_t kSecond = 1'000'000'000;
  budget.pass(5 * kSecond);
  CHECK(!budget.is_spent());
  budget.spend(kSecond / 10);  // a hundredth of ten seconds
  CHECK(budget.is_spent());
  budget.pass(6 * kSecond);
  CHECK(!budget.is_spent());
  budget.spend(kSecond / 100);
  CHECK(budget.is_spent());
  budget.pass(1 * kSecond);  // a clock that jumps back brings nothing
  CHECK(budget.is_spent());
  budget.pass(10'000 * kSecond);
  budget.spend(kSecond / 10 - 1);
  CHECK(!budget.is_spent());
  budget.spend(1);
  CHECK(budget.is_spent());
}

TEST_CASE("what is spare is tidied up before the heap grows on") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER", "off", 1);
    if (!start_heap()) return;
    // Freed from the last to the first, so that spare batches of many slabs fill the depot.
    std::vector<void*> first = fill(64 * kMiB, 1000);
    for (size_t i = 0; i < 61; ++i) {
      for (size_t at = i; at < first.size(); at += 61) deallocate(first[at], here());
    }
    const SlabCounters before = slab_counters();
    EXPECT(depot_bytes() != 0);
    const uint64_t spare = depot_bytes() / size_class(class_of(1000)).size;
    EXPECT(depot_objects(class_of(1000)) == spare);
    // Another size: nothing of the first class is asked for again.
    std::vector<void*> second = fill(80 * kMiB, 3000);
    EXPECT(depot_objects(class_of(1000)) == 0);
    EXPECT(slab_counters().released > before.released);
    EXPECT(exposed_bytes() < 100 * kMiB);
    empty(second);
  });
}

}  // namespace
