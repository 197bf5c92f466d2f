#include "reclaim/executor.h"

#include <memory>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace {

using namespace pm;

// Layers of numbers: two CPUs' magazines, a depot, slabs, dirty blocks and runs.
struct Fake {
  MagazineUse blocks[3] = {{10, 4 * kMiB}, {20, 6 * kMiB}, {0, 0}};
  bool used[3] = {true, true, false};
  uint64_t depot = 3 * kMiB;
  uint64_t slabs = 0;  // what release_slabs will give to the page layer
  DirtyFigures dirty = {0, 0};
  uint64_t sparse = 0;
  uint64_t refault_ns = 0;
  uint64_t now = 1'000'000'000;
  uint64_t cpu = 0;
  uint64_t small = 20 * kMiB;
  bool refuses = false;
  std::vector<std::string> calls;
} fake;

const ReclaimLayers kFakeLayers = {
    .block_count = [] { return uint32_t{3}; },
    .block_use =
        [](uint32_t i, MagazineUse& out) {
          out = fake.blocks[i];
          return fake.used[i];
        },
    .drain_block =
        [](uint32_t i) {
          fake.calls.push_back("drain " + std::to_string(i));
          const size_t bytes = fake.blocks[i].bytes;
          fake.slabs += bytes;
          fake.blocks[i] = {fake.blocks[i].activity + 1, 0};
          return bytes;
        },
    .depot_bytes = [] { return fake.depot; },
    .drain_depot =
        [](size_t) {
          fake.calls.push_back("depot");
          const size_t bytes = fake.depot;
          fake.slabs += bytes;
          fake.depot = 0;
          return bytes;
        },
    .empty_slab_bytes = [] { return fake.slabs; },
    .release_slabs =
        [] {
          fake.calls.push_back("slabs");
          const size_t bytes = fake.slabs;
          fake.dirty.run_bytes += bytes;
          fake.slabs = 0;
          return bytes;
        },
    .dirty = [] { return fake.dirty; },
    .decommit =
        [](size_t goal, TrimScope scope) {
          fake.calls.push_back(scope == TrimScope::blocks ? "blocks" : "everything");
          if (fake.refuses) return size_t{0};
          const uint64_t from_blocks = goal < fake.dirty.block_bytes ? goal : fake.dirty.block_bytes;
          fake.dirty.block_bytes -= from_blocks;
          uint64_t from_runs = scope == TrimScope::blocks ? 0 : goal - from_blocks;
          if (from_runs > fake.dirty.run_bytes) from_runs = fake.dirty.run_bytes;
          fake.dirty.run_bytes -= from_runs;
          fake.cpu += (from_blocks + from_runs) / kMiB * 50'000;
          return size_t{from_blocks + from_runs};
        },
    .decommit_slabs =
        [](size_t goal) {
          fake.calls.push_back("sparse");
          const size_t bytes = goal < fake.sparse ? goal : fake.sparse;
          fake.sparse -= bytes;
          return bytes;
        },
    .collapsible_bytes = [] { return fake.small; },
    .collapse =
        [](size_t goal) {
          fake.calls.push_back("collapse");
          fake.small -= goal;
          fake.cpu += goal / kMiB * 200'000;
          return goal;
        },
    .prefault =
        [](size_t goal) {
          fake.calls.push_back("prefault");
          return goal;
        },
    .refault_ns = [] { return fake.refault_ns; },
    .clock_ns = [] { return fake.now; },
    .cpu_ns = [] { return fake.cpu; },
};

struct Fixture {
  Fixture() {
    fake = {};
    executor.configure(kFakeLayers);
  }
  bool called(const std::string& name) const {
    for (const std::string& call : fake.calls) {
      if (call == name) return true;
    }
    return false;
  }
  uint64_t carry_out(
      std::initializer_list<Step> steps, Executor::GoOn go_on = [](void*, Reason) { return true; }) {
    Plan plan = {};
    for (const Step& step : steps) plan.steps[plan.count++] = step;
    return executor.carry_out(plan, go_on, nullptr);
  }
  const std::unique_ptr<Executor> owner = std::make_unique<Executor>();  // large; one a test
  Executor& executor = *owner;
};

uint64_t released(Reason reason) { return reclaim_counters.released_bytes[static_cast<unsigned>(reason)].load(); }

TEST_CASE("holdings are what the layers hold") {
  Fixture f;
  fake.dirty = {8 * kMiB, kMiB};
  const Holdings held = f.executor.look(0);
  CHECK(held.magazine_bytes == 10 * kMiB);
  CHECK(held.depot_bytes == 3 * kMiB);
  CHECK(held.dirty_bytes == 9 * kMiB);
  CHECK(held.dirty_block_bytes == 8 * kMiB);
  CHECK(held.dirty_run_bytes == kMiB);
}

TEST_CASE("dense memory is collapsed as far as the plan says, and the price is learnt") {
  Fixture f;
  CHECK(f.executor.look(0).small_page_bytes == 20 * kMiB);
  const uint64_t price = f.executor.prices().collapse_ns_per_mib;
  CHECK(f.carry_out({{Action::collapse, Reason::dense, 4 * kMiB}}) == 0);
  CHECK(f.executor.look(0).small_page_bytes == 16 * kMiB);
  CHECK(f.executor.prices().collapse_ns_per_mib == price - price / 4 + 50'000);
}

TEST_CASE("only idle CPUs are drained while no limit is near") {
  Fixture f;
  f.executor.look(0);
  fake.now += 2'000'000'000;
  fake.blocks[1].activity += 5;  // CPU 1 is at work
  f.executor.look(0);
  f.carry_out({{Action::drain_caches, Reason::pressure, 100 * kMiB}});
  CHECK(f.called("drain 0"));
  CHECK(!f.called("drain 1"));
  CHECK(f.called("depot"));
  // A second time there is nothing idle left, and the drain itself does not count as use.
  fake.calls.clear();
  f.carry_out({{Action::drain_caches, Reason::pressure, 100 * kMiB}});
  CHECK(!f.called("drain 0"));
  // Near the limit all are.
  f.carry_out({{Action::drain_caches, Reason::limit_near, 100 * kMiB}});
  CHECK(f.called("drain 1"));
}

TEST_CASE("a CPU that was seen once only is not idle yet") {
  Fixture f;
  f.executor.look(0);
  f.carry_out({{Action::drain_caches, Reason::pressure, 100 * kMiB}});
  CHECK(!f.called("drain 0"));
}

TEST_CASE("large goals are done in slices, and stop when somebody waits") {
  Fixture f;
  fake.dirty.block_bytes = 1024 * kMiB;
  const uint64_t before = released(Reason::idle);
  CHECK(f.carry_out({{Action::decommit_blocks, Reason::idle, 512 * kMiB}}) == 512 * kMiB);
  CHECK(fake.calls.size() == 8);
  CHECK(released(Reason::idle) - before == 512 * kMiB);
  fake.calls.clear();
  static int left;
  left = 3;  // one question before the step, one before each slice
  CHECK(f.carry_out({{Action::decommit_blocks, Reason::idle, 512 * kMiB}}, [](void*, Reason) { return left-- > 0; }) ==
        128 * kMiB);
  CHECK(fake.calls.size() == 2);
}

TEST_CASE("what the system refuses is not tried for ever, and not counted") {
  Fixture f;
  fake.dirty.block_bytes = 1024 * kMiB;
  fake.refuses = true;
  const uint64_t before = released(Reason::pressure);
  CHECK(f.carry_out({{Action::decommit_blocks, Reason::pressure, 512 * kMiB}}) == 0);
  CHECK(fake.calls.size() == 1);
  CHECK(released(Reason::pressure) == before);
}

TEST_CASE("blocks are left whole unless runs are asked for; sparse slabs come last") {
  Fixture f;
  fake.dirty = {2 * kMiB, 5 * kMiB};
  fake.sparse = 3 * kMiB;
  CHECK(f.executor.look(3 * kMiB).dirty_run_bytes == 8 * kMiB);
  CHECK(f.carry_out({{Action::decommit_blocks, Reason::pressure, 100 * kMiB}}) == 2 * kMiB);
  CHECK(f.carry_out({{Action::decommit_runs, Reason::pressure, 4 * kMiB}}) == 4 * kMiB);
  CHECK(!f.called("sparse"));
  CHECK(f.executor.slabs_exhausted() == 0);
  CHECK(f.carry_out({{Action::decommit_runs, Reason::pressure, 2 * kMiB}}) == 2 * kMiB);
  CHECK(fake.sparse == 2 * kMiB);
  CHECK(f.executor.slabs_exhausted() == 0);
  CHECK(f.carry_out({{Action::decommit_runs, Reason::pressure, 5 * kMiB}}) == 2 * kMiB);
  CHECK(f.executor.slabs_exhausted() == 1);
}

TEST_CASE("prices follow what was measured") {
  Fixture f;
  fake.dirty.block_bytes = 4096 * kMiB;
  for (int i = 0; i < 20; ++i) f.carry_out({{Action::decommit_blocks, Reason::idle, 64 * kMiB}});
  CHECK(f.executor.prices().decommit_ns_per_mib > 49'000);
  CHECK(f.executor.prices().decommit_ns_per_mib < 51'000);
  const uint64_t before = f.executor.prices().refault_ns_per_mib;
  f.executor.measure_refault();  // could not be measured
  CHECK(f.executor.prices().refault_ns_per_mib == before);
  fake.refault_ns = 14'000'000;  // 7 ms a MiB: the host took the page back
  for (int i = 0; i < 20; ++i) f.executor.measure_refault();
  CHECK(f.executor.prices().refault_ns_per_mib > 6'500'000);
}

TEST_CASE("an emergency takes pages first, then everything") {
  Fixture f;
  fake.dirty = {8 * kMiB, 0};
  CHECK(release_now(kFakeLayers, 4 * kMiB, Reason::emergency) == 4 * kMiB);
  CHECK(fake.calls == std::vector<std::string>{"everything"});
  // 4 MiB dirty are left, and 13 in caches.
  CHECK(release_now(kFakeLayers, 100 * kMiB, Reason::emergency) == 17 * kMiB);
  CHECK(f.called("sparse"));
}

}  // namespace
