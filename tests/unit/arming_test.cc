#include "magazine/arming.h"

#include <sched.h>

#include <cmath>

#include "magazine/layout.h"
#include "magazine/rseq_x86_64.h"
#include "magazine/sampling.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;

// As the heap does: what one allocation of the class gets, and whether it was sampled on the hot path.
struct Program {
  ClassId id;
  uint64_t pops = 0;
  uint64_t sampled = 0;

  void run(uint64_t times, unsigned held) {
    void* objects[64];
    for (uint64_t i = 0; i < times; ++i) {
      for (unsigned h = 0; h < held; ++h) objects[h] = allocate();
      for (unsigned h = 0; h < held; ++h) {
        if (magazine_push(id, objects[h]) != Push::done) EXPECT(magazine_overflow(id, objects[h]) == Overflow::done);
      }
    }
  }
  void* allocate() {
    Popped popped;
    const Pop pop = magazine_pop(id, popped);
    if (pop == Pop::empty) return magazine_refill(id);
    ++pops;
    if (pop == Pop::sampled) {
      ++sampled;
      magazine_was_sampled(id, popped);
    }
    return popped.object;
  }
  uint64_t counted() const {
    static MagazineClassStatistics rows[kMaxClasses];
    magazine_collect(rows);
    return rows[id].pops;
  }
};

template <typename Body>
void with_rseq(Body body) {
  test::in_fresh_process([&] {
    // A thread that is moved amid a change leaves its magazine for later, and pops go unsampled meanwhile.
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    EXPECT(sched_setaffinity(0, sizeof here, &here) == 0);
    test::start_magazines(true);
    if (magazine_mode() == MagazineMode::rseq) body();
  });
}

bool is_likely(uint64_t count, uint64_t trials, double chance) {
  const double mean = static_cast<double>(trials) * chance;
  return std::abs(static_cast<double>(count) - mean) <= 5 * std::sqrt(mean * (1 - chance)) + 0.5;
}

TEST_CASE("every pop has the same chance, and none is counted twice or left out") {
  with_rseq([] {
    uint32_t generation = 0;
    for (const uint32_t size : {16U, 256U, 4096U}) {
      Program program{class_of(size)};
      program.run(1000, 20);
      for (const uint64_t period : {1U, 5000U, 200'000U}) {
        magazine_sample(period, ++generation);
        const uint64_t pops = program.pops;
        const uint64_t sampled = program.sampled;
        program.run(20'000, 20);
        const uint64_t trials = program.pops - pops;
        const double chance = period == 1 ? 1 : -std::expm1(-static_cast<double>(size) / static_cast<double>(period));
        if (!is_likely(program.sampled - sampled, trials, chance)) EXPECT(false && "as many samples as pops promise");
        EXPECT(program.counted() == program.pops);
        EXPECT(dropped_samples == 0);
        magazine_sample(0, 0);
        EXPECT(program.counted() == program.pops);
        const uint64_t before = program.sampled;
        program.run(1000, 20);
        EXPECT(program.sampled == before && program.counted() == program.pops);
      }
    }
  });
}

TEST_CASE("a pair of pop and push far from the ends of a magazine is sampled like any other") {
  with_rseq([] {
    Program program{class_of(64)};
    program.run(10, 10);
    magazine_sample(64'000, 1);
    const uint64_t pops = program.pops;
    program.run(2'000'000, 1);
    EXPECT(is_likely(program.sampled, program.pops - pops, -std::expm1(-1.0 / 1000)));
  });
}

TEST_CASE("drains and growth keep what is armed and counted") {
  with_rseq([] {
    Program program{class_of(64)};
    magazine_sample(6400, 1);
    for (int turn = 0; turn < 200; ++turn) {
      program.run(100, 1 + static_cast<unsigned>(turn) % 60);
      EXPECT(magazine_drain_all());
      EXPECT(program.counted() == program.pops);
    }
    EXPECT(is_likely(program.sampled, program.pops, -std::expm1(-0.01)));
  });
}

TEST_CASE("a carried word waits for its own CPU") {
  with_rseq([] {
    Program program{class_of(64)};
    program.run(10, 5);
    magazine_sample(1, 1);
    program.run(10, 5);
    Popped popped;
    EXPECT(magazine_pop(program.id, popped) == Pop::sampled);
    CpuBlock& block = *popped.block;
    const uint64_t before = pops_of(block, program.id);
    // The magazine is closed, as it is for a drain: nobody may change its word.
    const uint64_t limits = block.limits[program.id].word.exchange(0);
    magazine_was_sampled(program.id, popped);
    EXPECT(is_marked(block) && (block.words[program.id] >> 63) == 0 && pops_of(block, program.id) == before);
    block.limits[program.id].word = limits;
    arm_marked(block);
    EXPECT(!is_marked(block) && (block.words[program.id] >> 63) == 1 && pops_of(block, program.id) == before);
  });
}

#if PM_HAS_RSEQ
TEST_CASE("a child forked amid a change finishes it, whichever half was done") {
  with_rseq([] {
    Program program{class_of(64)};
    program.run(10, 5);
    magazine_sample(1 << 30, 1);
    program.run(10, 5);
    Popped popped;
    EXPECT(magazine_pop(program.id, popped) == Pop::done);
    CpuBlock& block = RseqAccess::block(RseqAccess::cpu());
    MagazineArming& arming = arming_of(block, program.id);
    const uint64_t pops = pops_of(block, program.id);
    const uint64_t base = arming.base;
    // The word is changed, the base is not yet.
    arming.version = arming.version + 1;
    arming.next = base;
    arming.base = base + 12345;
    finish_arming_in_child(block);
    EXPECT(arming.version % 2 == 0 && pops_of(block, program.id) == pops);
    // Neither is: the word has carried.
    block.words[program.id] = block.words[program.id] & ~(uint64_t{1} << 63);
    const uint64_t carried = pops_of(block, program.id);
    arming.version = arming.version + 1;
    arming.next = base + 999;
    finish_arming_in_child(block);
    EXPECT(arming.version % 2 == 0 && pops_of(block, program.id) == carried);
  });
}
#endif

}  // namespace
