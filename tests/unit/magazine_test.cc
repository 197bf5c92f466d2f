#include "magazine/magazine.h"

#include <sched.h>

#include <set>
#include <thread>
#include <vector>

#include "magazine/rejected.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;
using pm::test::start_magazines;

// Runs the body with restartable sequences and with locks, each in a process of its own, on one CPU.
template <typename Body>
void in_both_modes(Body body, uint64_t magazine_bytes = 2 * kMiB, uint64_t depot_bytes = 4 * kMiB) {
  for (const bool rseq : {true, false}) {
    INFO((rseq ? "rseq" : "locked"));
    in_fresh_process([&] {
      start_magazines(rseq, magazine_bytes, depot_bytes);
      if (!rseq) EXPECT(magazine_mode() == MagazineMode::locked);
      cpu_set_t cpus;
      CPU_ZERO(&cpus);
      CPU_SET(sched_getcpu(), &cpus);
      EXPECT(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
      body();
    });
  }
}

void* take(ClassId id) {
  Popped popped;
  void* const p = magazine_pop(id, popped) == Pop::done ? popped.object : magazine_refill(id);
  EXPECT(p != nullptr && class_at(p) == id);
  return p;
}

Overflow give(void* p) {
  const ClassId id = class_at(p);
  return magazine_push(id, p) == Push::done ? Overflow::done : magazine_overflow(id, p);
}

MagazineClassStatistics row_of(ClassId id) {
  static MagazineClassStatistics rows[kMaxClasses];
  magazine_collect(rows);
  return rows[id];
}

void expect_nothing_lost() {
  EXPECT(magazine_drain_all());
  for (unsigned id = 1; id < class_table->count; ++id) {
    const MagazineClassStatistics row = row_of(static_cast<ClassId>(id));
    EXPECT(row.magazine_objects == 0 && row.depot_objects == 0);
  }
  slab_trim();
  EXPECT(slab_counters().created == slab_counters().released);
}

TEST_CASE("rseq is used where the machine has it") {
  in_fresh_process([] {
    start_magazines(true);
#if PM_HAS_RSEQ
    bool mm_cid = false;
    if (os::rseq_cpu() < os::possible_cpus()) EXPECT(magazine_mode() == MagazineMode::rseq);
    EXPECT(!mm_cid && !magazine_uses_mm_cid());
#else
    EXPECT(magazine_mode() == MagazineMode::locked);
#endif
  });
}

TEST_CASE("every class: what was freed last comes back first") {
  in_both_modes([] {
    for (unsigned i = 1; i < class_table->count; ++i) {
      const auto id = static_cast<ClassId>(i);
      void* const a = take(id);
      void* const b = take(id);
      EXPECT(a != b);
      EXPECT(give(a) == Overflow::done && give(b) == Overflow::done);
      EXPECT(take(id) == b && take(id) == a);
      EXPECT(give(b) == Overflow::done && give(a) == Overflow::done);
    }
    expect_nothing_lost();
  });
}

TEST_CASE("many more than the magazine holds, in both directions") {
  in_both_modes([] {
    const ClassId id = class_of(64);
    std::set<void*> objects;
    for (int i = 0; i < 20000; ++i) EXPECT(objects.insert(take(id)).second);
    for (void* p : objects) EXPECT(give(p) == Overflow::done);
    const MagazineCounters counters = magazine_counters();
    EXPECT(counters.refills > 0 && counters.flushes > 0 && counters.grows > 0);
    EXPECT(counters.depot_hits + counters.slab_refills >= counters.refills);
    const MagazineClassStatistics row = row_of(id);
    EXPECT(row.magazine_objects <= row.capacity && row.capacity <= size_class(id).magazine_max);
    EXPECT(row.misses > 0 && row.overflows > 0);
    expect_nothing_lost();
  });
}

TEST_CASE("a magazine that runs empty and full by turns gets all the room there is, another does not") {
  in_both_modes([] {
    const ClassId id = class_of(64);
    const SizeClass& c = size_class(id);
    std::vector<void*> objects(20000);
    for (void*& p : objects) p = take(id);
    EXPECT(row_of(id).capacity >= c.batch && row_of(id).capacity <= 2 * c.batch);
    for (void* p : objects) EXPECT(give(p) == Overflow::done);
    EXPECT(row_of(id).capacity < c.magazine_max);
    for (int turn = 0; turn < 3; ++turn) {
      for (void*& p : objects) p = take(id);
      for (void* p : objects) EXPECT(give(p) == Overflow::done);
    }
    EXPECT(row_of(id).capacity == c.magazine_max);
    expect_nothing_lost();
  });
}

TEST_CASE("the counts add up") {
  in_both_modes([] {
    const ClassId id = class_of(128);
    void* objects[10];
    for (int turn = 0; turn < 50; ++turn) {
      for (void*& p : objects) p = take(id);
      for (void* p : objects) EXPECT(give(p) == Overflow::done);
    }
    const MagazineClassStatistics row = row_of(id);
    EXPECT(row.pops + row.misses >= 500 && row.pops <= 500);
    EXPECT(row.pushes >= 400 && row.pushes <= 500);
    EXPECT(row.magazine_objects >= 1 && row.magazine_objects == row.refilled + row.pushes - row.pops - row.flushed);
  });
}

TEST_CASE("batches wait in the depot for other CPUs") {
  in_both_modes([] {
    const ClassId id = class_of(64);
    std::vector<void*> objects;
    for (int i = 0; i < 6000; ++i) objects.push_back(take(id));
    for (void* p : objects) EXPECT(give(p) == Overflow::done);
    EXPECT(row_of(id).depot_objects > 0);
    const uint64_t hits = magazine_counters().depot_hits;
    for (int i = 0; i < 6000; ++i) objects[static_cast<size_t>(i)] = take(id);
    EXPECT(magazine_counters().depot_hits > hits);
    for (void* p : objects) EXPECT(give(p) == Overflow::done);
    expect_nothing_lost();
  });
}

TEST_CASE("a double free of one of the last objects is seen at once") {
  in_both_modes([] {
    const ClassId id = class_of(64);
    void* objects[3];
    for (void*& p : objects) p = take(id);
    for (void* p : objects) EXPECT(give(p) == Overflow::done);
    for (void* p : objects) {
      EXPECT(magazine_holds_on_top(id, p));
      EXPECT(magazine_push(id, p) != Push::done);
      EXPECT(magazine_overflow(id, p) == Overflow::double_free);
    }
    void* const live = take(id);
    EXPECT(!magazine_holds_on_top(id, live) && give(live) == Overflow::done);
  });
}

TEST_CASE("a double free that was not seen is found when its batch is flushed") {
  in_both_modes([] {
    const ClassId id = class_of(64);
    std::vector<void*> objects;
    for (int i = 0; i < 100; ++i) objects.push_back(take(id));
    for (void* p : objects) EXPECT(give(p) == Overflow::done);
    EXPECT(give(objects[0]) == Overflow::done);
    void* found = nullptr;
    EXPECT(take_rejected(&found, 1) == 0);
    EXPECT(magazine_drain_all());
    EXPECT(take_rejected(&found, 1) == 1 && found == objects[0]);
    EXPECT(take_rejected(&found, 1) == 0);
  });
}

TEST_CASE("threads on any CPU serve themselves, and a drain reaches what they left") {
  for (const bool rseq : {true, false}) {
    in_fresh_process([&] {
      start_magazines(rseq);
      std::vector<std::thread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([] {
          std::vector<void*> objects;
          for (int i = 0; i < 3000; ++i) objects.push_back(take(class_of(static_cast<size_t>(i % 1000))));
          for (void* p : objects) EXPECT(give(p) == Overflow::done);
        });
      }
      for (std::thread& thread : threads) thread.join();
      expect_nothing_lost();
      EXPECT(magazine_table_bytes() > 0);
    });
  }
}

TEST_CASE("without memory a refill returns nothing, and frees still work") {
  in_both_modes([] {
    const ClassId id = class_of(1024);
    void* const p = take(id);
    static os::MemoryFunctions refusing = os::memory();
    refusing.commit = [](uintptr_t, size_t) { return false; };
    os::set_memory_functions(&refusing);
    Popped q;
    while (magazine_pop(id, q) == Pop::done || magazine_refill(id) != nullptr) {
    }
    EXPECT(give(p) == Overflow::done && take(id) == p);
  });
}

TEST_CASE("after a fork the child's magazines work, whoever held the locks") {
  in_both_modes([] {
    const ClassId id = class_of(64);
    EXPECT(give(take(id)) == Overflow::done);
    magazine_before_fork();
    const pid_t child = fork();
    if (child == 0) {
      magazine_after_fork_child(false);
      for (int i = 0; i < 100; ++i) take(id);
      EXPECT(magazine_drain_all());
      _exit(0);
    }
    magazine_after_fork_parent();
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(magazine_drain_all());
  });
}

}  // namespace
