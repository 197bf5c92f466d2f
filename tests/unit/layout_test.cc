#include "magazine/layout.h"

#include <sched.h>

#include "magazine/magazine.h"
#include "magazine/rejected.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;
using pm::test::start_magazines;

// The same checks over both ways to reach a magazine.
struct LockedCase {
  using Access = LockedAccess;
  static bool start(uint64_t budget) {
    start_magazines(false, budget);
    return true;
  }
};

#if PM_HAS_RSEQ
struct RseqCase {
  using Access = RseqAccess;
  // False where the machine has no rseq.
  static bool start(uint64_t budget) {
    start_magazines(true, budget);
    return magazine_mode() == MagazineMode::rseq;
  }
};
#define MAGAZINE_CASES LockedCase, RseqCase
#else
#define MAGAZINE_CASES LockedCase
#endif

// So that what is done on a CPU is done at all.
template <typename Access>
uint32_t stay_here() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(sched_getcpu(), &cpus);
  EXPECT(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
  return Access::cpu();
}

template <typename Access>
uint32_t pop(uint32_t cpu, ClassId id, void** out, uint32_t n) {
  return Access::pop_batch(cpu, id, out, n);
}

template <typename Access>
uint32_t held(uint32_t cpu, ClassId id) {
  const CpuBlock& block = Access::block(cpu);
  return static_cast<uint32_t>(block.words[id].load() & kTopMask) - block.tallies[id].begin;
}

template <typename Access>
uint32_t capacity(uint32_t cpu, ClassId id) {
  return Access::block(cpu).tallies[id].capacity;
}

template <typename Access>
void fill(uint32_t cpu, ClassId id) {
  void* objects[64];
  for (;;) {
    const size_t n = slab_allocate(id, objects, size_class(id).batch);
    const uint32_t kept = Access::push_batch(cpu, id, objects, static_cast<uint32_t>(n));
    EXPECT(slab_deallocate(id, objects + kept, n - kept) == 0);
    if (kept < n) break;
  }
  EXPECT(held<Access>(cpu, id) == capacity<Access>(cpu, id));
}

TEMPLATE_TEST_CASE("a magazine opens small and doubles up to its class's maximum", "", MAGAZINE_CASES) {
  in_fresh_process([] {
    using Access = typename TestType::Access;
    if (!TestType::start(kGiB)) return;
    const uint32_t cpu = stay_here<Access>();
    const ClassId id = class_of(64);
    void* p = reinterpret_cast<void*>(64);
    EXPECT(Access::push_batch(cpu, id, &p, 1) == 0 && pop<Access>(cpu, id, &p, 1) == 0);
    for (uint32_t expected = 8; expected <= size_class(id).magazine_max; expected *= 2) {
      grow_magazine<Access>(cpu, id);
      EXPECT(capacity<Access>(cpu, id) == expected);
      fill<Access>(cpu, id);
    }
    grow_magazine<Access>(cpu, id);
    EXPECT(capacity<Access>(cpu, id) == size_class(id).magazine_max);
    EXPECT(Access::block(cpu).capacity_bytes == size_class(id).magazine_max * 64);
  });
}

TEMPLATE_TEST_CASE("objects stay in order when their array moves", "", MAGAZINE_CASES) {
  in_fresh_process([] {
    using Access = typename TestType::Access;
    if (!TestType::start(kGiB)) return;
    const uint32_t cpu = stay_here<Access>();
    const ClassId id = class_of(64);
    grow_magazine<Access>(cpu, id);
    void* objects[8];
    EXPECT(slab_allocate(id, objects, 8) == 8);
    EXPECT(Access::push_batch(cpu, id, objects, 8) == 8);
    grow_magazine<Access>(cpu, class_of(80));  // whose array lies behind it now
    const uint32_t before = Access::block(cpu).tallies[id].begin;
    grow_magazine<Access>(cpu, id);
    EXPECT(Access::block(cpu).tallies[id].begin != before && held<Access>(cpu, id) == 8);
    for (int i = 7; i >= 0; --i) {
      void* p = nullptr;
      EXPECT(pop<Access>(cpu, id, &p, 1) == 1 && p == objects[i]);
    }
    EXPECT(held<Access>(cpu, id) == 0 && slab_deallocate(id, objects, 8) == 0);
  });
}

TEMPLATE_TEST_CASE("the last array of a block grows where it is", "", MAGAZINE_CASES) {
  in_fresh_process([] {
    using Access = typename TestType::Access;
    if (!TestType::start(kGiB)) return;
    const uint32_t cpu = stay_here<Access>();
    const ClassId id = class_of(64);
    grow_magazine<Access>(cpu, id);
    const uint32_t place = Access::block(cpu).tallies[id].begin;
    while (capacity<Access>(cpu, id) < size_class(id).magazine_max) {
      fill<Access>(cpu, id);
      grow_magazine<Access>(cpu, id);
    }
    fill<Access>(cpu, id);
    EXPECT(Access::block(cpu).tallies[id].begin == place);
  });
}

TEMPLATE_TEST_CASE("busy classes leave room for the magazines of all others", "", MAGAZINE_CASES) {
  in_fresh_process([] {
    using Access = typename TestType::Access;
    if (!TestType::start(kGiB)) return;
    const uint32_t cpu = stay_here<Access>();
    // By turns, so that no array is the last for long.
    for (int i = 0; i < 12; ++i) {
      for (const unsigned size : {16U, 32U, 48U, 64U, 80U, 96U, 112U, 128U}) grow_magazine<Access>(cpu, class_of(size));
    }
    EXPECT(capacity<Access>(cpu, class_of(128)) >= 512);
    for (unsigned id = class_of(144); id < class_table->count; ++id) {
      for (int i = 0; i < 6; ++i) grow_magazine<Access>(cpu, static_cast<ClassId>(id));
      const uint32_t most = size_class(static_cast<ClassId>(id)).magazine_max;
      EXPECT(capacity<Access>(cpu, static_cast<ClassId>(id)) >= (most < 128 ? most : 128));
    }
  });
}

TEMPLATE_TEST_CASE("under the budget idle magazines shrink for one that grows", "", MAGAZINE_CASES) {
  in_fresh_process([] {
    using Access = typename TestType::Access;
    if (!TestType::start(64 * kKiB)) return;
    const uint32_t cpu = stay_here<Access>();
    const ClassId idle = class_of(256);
    const ClassId busy = class_of(512);
    while (Access::block(cpu).capacity_bytes < 64 * kKiB) grow_magazine<Access>(cpu, idle);
    fill<Access>(cpu, idle);
    const uint32_t idle_before = capacity<Access>(cpu, idle);
    // The first small magazine is always granted; the shrinker's hand must come by twice to know who is idle.
    for (int i = 0; i < 8; ++i) grow_magazine<Access>(cpu, busy);
    EXPECT(capacity<Access>(cpu, busy) > 8);
    EXPECT(capacity<Access>(cpu, idle) < idle_before);
    EXPECT(held<Access>(cpu, idle) <= capacity<Access>(cpu, idle));
    EXPECT(Access::block(cpu).capacity_bytes <= 64 * kKiB + 8 * 512);
    EXPECT(layout_counters.shrinks > 0);
    // What lay above went to the slabs, and nothing is lost.
    EXPECT(magazine_drain_all());
    slab_trim();
    EXPECT(slab_counters().created == slab_counters().released);
  });
}

TEMPLATE_TEST_CASE("a magazine that is only freed into is not idle", "", MAGAZINE_CASES) {
  in_fresh_process([] {
    using Access = typename TestType::Access;
    if (!TestType::start(64 * kKiB)) return;
    const uint32_t cpu = stay_here<Access>();
    const ClassId freed = class_of(256);
    const ClassId busy = class_of(512);
    while (Access::block(cpu).capacity_bytes < 64 * kKiB) grow_magazine<Access>(cpu, freed);
    fill<Access>(cpu, freed);
    const uint32_t before = capacity<Access>(cpu, freed);
    grow_magazine<Access>(cpu, busy);
    for (int i = 0; i < 20; ++i) {
      Access::block(cpu).tallies[freed].overflows.fetch_add(1);  // as a free into the full magazine does
      grow_magazine<Access>(cpu, busy);
    }
    EXPECT(capacity<Access>(cpu, freed) == before && capacity<Access>(cpu, busy) == 8);
    EXPECT(layout_counters.shrinks == 0);
  });
}

TEMPLATE_TEST_CASE("a drain empties every class and leaves the magazines open", "", MAGAZINE_CASES) {
  in_fresh_process([] {
    using Access = typename TestType::Access;
    if (!TestType::start(kGiB)) return;
    const uint32_t cpu = stay_here<Access>();
    for (const unsigned size : {16U, 64U, 1000U, 40000U}) {
      grow_magazine<Access>(cpu, class_of(size));
      fill<Access>(cpu, class_of(size));
    }
    EXPECT(drain_cpu<Access>(cpu));
    for (const unsigned size : {16U, 64U, 1000U, 40000U}) {
      EXPECT(held<Access>(cpu, class_of(size)) == 0);
      EXPECT(capacity<Access>(cpu, class_of(size)) > 0);
      fill<Access>(cpu, class_of(size));
    }
    EXPECT(drain_cpu<Access>(cpu) && drain_cpu<Access>(cpu));
    EXPECT(layout_counters.drains == 3);
    slab_trim();
    EXPECT(slab_counters().created == slab_counters().released);
  });
}

#if PM_HAS_RSEQ
// During a drain the word reads 0, or 0xffff once a pop that was under way has committed onto it.
TEST_CASE("a magazine that a drain has taken looks empty to everybody") {
  in_fresh_process([] {
    if (!RseqCase::start(kGiB)) return;
    const uint32_t cpu = stay_here<RseqAccess>();
    const ClassId id = class_of(64);
    grow_magazine<RseqAccess>(cpu, id);
    fill<RseqAccess>(cpu, id);
    void* objects[8];
    EXPECT(slab_allocate(id, objects, 1) == 1);
    CpuBlock& block = RseqAccess::block(cpu);
    const uint64_t word = block.words[id];
    const uint64_t limits = block.limits[id].word;
    void* const freed_last = slots_of(block)[word & kTopMask];
    block.limits[id].word = 0;
    for (const uint64_t top : {uint64_t{0}, kTopMask}) {
      block.words[id] = (word & ~kTopMask) | top;
      Popped p;
      EXPECT(magazine_pop(id, p) == Pop::empty);
      EXPECT(pop<RseqAccess>(cpu, id, objects + 1, 4) == 0);
      EXPECT(RseqAccess::push_batch(cpu, id, objects, 1) == 0);
      EXPECT(magazine_push(id, objects[0]) == Push::suspect);
      EXPECT(!magazine_holds_on_top(id, freed_last));
      EXPECT((block.words[id] & kTopMask) == top);
    }
    block.words[id] = word;
    block.limits[id].word = limits;
    EXPECT(magazine_holds_on_top(id, freed_last));
  });
}

// Frees objects of the slabs' one by one, as the program does, until there is no room; returns how many went in.
uint32_t push_until_full(ClassId id) {
  for (uint32_t count = 0;; ++count) {
    void* p = nullptr;
    EXPECT(slab_allocate(id, &p, 1) == 1);
    const Push push = magazine_push(id, p);
    if (push == Push::done) continue;
    EXPECT(push == Push::full && slab_deallocate(id, &p, 1) == 0);
    return count;
  }
}

TEST_CASE("the wall stands where the magazine ends, however often it shrank and grew") {
  in_fresh_process([] {
    if (!RseqCase::start(kGiB)) return;
    const uint32_t cpu = stay_here<RseqAccess>();
    const ClassId id = class_of(320);  // its maximum, 409, halves and doubles to other numbers
    const auto expect_room = [&] {
      push_until_full(id);
      EXPECT(held<RseqAccess>(cpu, id) == capacity<RseqAccess>(cpu, id));
    };
    grow_magazine<RseqAccess>(cpu, id);
    expect_room();
    const uint32_t most = size_class(id).magazine_max;
    while (capacity<RseqAccess>(cpu, id) < most) grow_magazine<RseqAccess>(cpu, id);
    expect_room();
    const uint32_t place = RseqAccess::block(cpu).tallies[id].begin;
    for (const unsigned size : {512U, 640U, 768U}) {
      // Two halvings at least, so that more than one old wall stands in between when it grows again.
      magazine_budget_bytes.store(64 * kKiB);
      for (int i = 0; i < 30; ++i) grow_magazine<RseqAccess>(cpu, class_of(size));
      EXPECT(capacity<RseqAccess>(cpu, id) <= most / 4);
      expect_room();
      magazine_budget_bytes.store(kGiB);
      while (capacity<RseqAccess>(cpu, id) < most) {
        grow_magazine<RseqAccess>(cpu, id);
        expect_room();
      }
      EXPECT(RseqAccess::block(cpu).tallies[id].begin == place);
      EXPECT(drain_cpu<RseqAccess>(cpu));
      expect_room();
    }
  });
}

TEST_CASE("an object freed twice with another in between is handed out once") {
  in_fresh_process([] {
    if (!RseqCase::start(kGiB)) return;
    const uint32_t cpu = stay_here<RseqAccess>();
    const ClassId id = class_of(64);
    grow_magazine<RseqAccess>(cpu, id);
    void* objects[2];
    EXPECT(slab_allocate(id, objects, 2) == 2);
    void* p = objects[0];
    EXPECT(magazine_push(id, p) == Push::done && magazine_push(id, p) == Push::full);
    EXPECT(magazine_push(id, objects[1]) == Push::done && magazine_push(id, p) == Push::done);
    Popped popped;
    EXPECT(magazine_pop(id, popped) == Pop::empty && held<RseqAccess>(cpu, id) == 3);
    EXPECT(magazine_refill(id) == p);
    void* rejected[4];
    EXPECT(take_rejected(rejected, 4) == 1 && rejected[0] == p);
    EXPECT(magazine_refill(id) != p && slab_deallocate(id, &p, 1) == 0);
  });
}

TEST_CASE("what belongs to another CPU is left alone") {
  in_fresh_process([] {
    if (!RseqCase::start(kGiB) || magazine_cpus < 2) return;
    const uint32_t cpu = stay_here<RseqAccess>();
    const uint32_t other = cpu == 0 ? 1 : 0;
    const ClassId id = class_of(64);
    void* objects[8];
    EXPECT(slab_allocate(id, objects, 8) == 8);
    grow_magazine<RseqAccess>(other, id);
    EXPECT(capacity<RseqAccess>(other, id) == 0);
    EXPECT(RseqAccess::push_batch(other, id, objects, 8) == 0);
    EXPECT(pop<RseqAccess>(other, id, objects, 8) == 0);
    EXPECT(!RseqAccess::close(other, id) && RseqAccess::block(other).limits[id].word == 0);
    EXPECT(drain_cpu<RseqAccess>(other));
  });
}
#endif

}  // namespace
