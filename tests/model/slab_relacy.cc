// The slab's state machine (src/slab/slab_record.h) and the stack of slabs (src/base/index_stack.h) under the C++
// memory model: the very code, run by Relacy over every interleaving and stale value, or over a fixed number of random
// ones where there are too many.
//
// Without an argument the scenarios must pass. With the name of a break (relacy_atomic.h) they run with that rule
// broken, and the checker must find it: otherwise a scenario would pass whatever the code does.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>

#include "tests/model/relacy_atomic.h"

namespace {

constexpr uint32_t kSlots = 2;

// A slab, the stack of its class, and what the program keeps in the slots.
template <Break kBreak>
struct World {
  pm::SlabCore<Atomics<kBreak>::template Slab, 1> core;
  pm::IndexStack<Atomics<kBreak>::template Stack> partial;
  StackAtomic<kBreak, uint32_t> link;
  rl::var<int> memory[kSlots];  // written by a slot's owner only: two at once are a data race
  rl::var<int> holding{0};      // likewise by the slab's holder

  auto links() {
    return [this](uint32_t) -> StackAtomic<kBreak, uint32_t>& { return link; };
  }

  // The slab with all its slots outside; the caller holds it.
  void create_empty() {
    core.create(kSlots);
    core.take(kSlots, [](unsigned, uint64_t) {});
  }

  void use(uint32_t slot, int who) { memory[slot](RL_INFO) = who; }

  // As slab_deallocate does. Whether the free revived the slab.
  bool free_slot(uint32_t slot, int who) {
    use(slot, who);
    const auto put = core.put(0, uint64_t{1} << slot);
    RL_ASSERT(!put.double_free);
    if (put.revived) partial.push(0, links());
    return put.revived;
  }

  uint64_t take(uint32_t wanted, int who) {
    holding(RL_INFO) = who;
    uint64_t taken = 0;
    core.take(wanted, [&](unsigned, uint64_t mask) { taken |= mask; });
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      if ((taken >> slot & 1) != 0) use(slot, who);
    }
    return taken;
  }

  void give_up(int who) {
    holding(RL_INFO) = who;
    if (core.leave()) partial.push(0, links());
  }

  // As slab_allocate does.
  uint64_t refill(uint32_t wanted, int who) {
    if (partial.pop(links()) == pm::kNoIndex) return 0;
    core.hold();
    const uint64_t taken = take(wanted, who);
    give_up(who);
    return taken;
  }

  // At rest, a slab with a free slot is on the stack, once; a full one is not.
  void check_at_rest(uint64_t outside) {
    const bool is_partial = core.state() == pm::SlabState::partial;
    RL_ASSERT(is_partial || core.state() == pm::SlabState::full);
    for (uint32_t slot = 0; slot < kSlots; ++slot) RL_ASSERT(core.is_free(slot) == ((outside >> slot & 1) == 0));
    RL_ASSERT(is_partial || core.free_slots() == 0);
    RL_ASSERT(partial.empty() != is_partial);
    // A slab pushed twice links to itself.
    RL_ASSERT(partial.empty() || link.load(std::memory_order_relaxed) == pm::kNoIndex);
  }
};

// The holder found no bit and leaves the slab as full, while the last owners of its slots free them.
template <Break kBreak, int kFrees>
struct LeaveAgainstFree : rl::test_suite<LeaveAgainstFree<kBreak, kFrees>, 1 + kFrees> {
  World<kBreak> world;

  void before() { world.create_empty(); }
  void thread(unsigned index) {
    if (index == 0) {
      world.give_up(0);
    } else {
      world.free_slot(index - 1, static_cast<int>(index));
    }
  }
  void after() { world.check_at_rest(kFrees == 1 ? 0b10 : 0b00); }
};

// The holder takes what it finds, among it perhaps the slot that is freed now, and leaves.
template <Break kBreak>
struct TakeAgainstFree : rl::test_suite<TakeAgainstFree<kBreak>, 2> {
  World<kBreak> world;
  uint64_t taken = 0;

  void before() {
    world.create_empty();
    world.core.put(0, 0b10);
  }
  void thread(unsigned index) {
    if (index == 0) {
      taken = world.take(kSlots, 0);
      world.give_up(0);
    } else {
      world.free_slot(0, 1);
    }
  }
  void after() { world.check_at_rest(taken); }
};

// Two frees find the slab full and compete to revive it; a refill pops it, takes a slot and leaves it in turn.
template <Break kBreak>
struct ReviveAndRefill : rl::test_suite<ReviveAndRefill<kBreak>, 3> {
  World<kBreak> world;
  uint64_t taken = 0;

  void before() {
    world.create_empty();
    RL_ASSERT(!world.core.leave());
  }
  void thread(unsigned index) {
    if (index == 0) {
      taken = world.refill(kSlots, 0);
    } else {
      world.free_slot(index - 1, static_cast<int>(index));
    }
  }
  void after() { world.check_at_rest(taken); }
};

// A free sets the last bit and sleeps. Meanwhile a sweep finds the slab empty and ends its life; its record and its
// memory serve another slab, whose slots are all handed out. The free was never of that slab and must not revive it.
template <Break kBreak>
struct FreeAgainstReuse : rl::test_suite<FreeAgainstReuse<kBreak>, 2> {
  World<kBreak> world;
  bool released = false;

  void before() {
    world.create_empty();
    world.core.put(0, 0b10);
    if (world.core.leave()) world.partial.push(0, world.links());
  }
  void thread(unsigned index) {
    if (index == 1) {
      RL_ASSERT(!world.free_slot(0, 1));
    } else if (world.partial.take_all() != pm::kNoIndex) {
      if (!world.core.is_empty()) {
        world.partial.push_chain(0, 0, world.links());
        return;
      }
      world.core.destroy();
      released = true;
      // The granules may serve anything now.
      for (uint32_t slot = 0; slot < kSlots; ++slot) world.use(slot, 0);
      world.core.create(kSlots);
      world.take(kSlots, 0);
      world.give_up(0);
    }
  }
  void after() { world.check_at_rest(released ? 0b11 : 0b00); }
};

// The stack alone, with records that their owner writes to.
template <Break kBreak, uint32_t kRecords>
struct Records {
  pm::IndexStack<Atomics<kBreak>::template Stack> stack;
  StackAtomic<kBreak, uint32_t> next[kRecords];
  rl::var<int> content[kRecords];
  int kept[kRecords] = {};

  auto links() {
    return [this](uint32_t index) -> StackAtomic<kBreak, uint32_t>& { return next[index]; };
  }
  void fill() {
    for (uint32_t index = 0; index < kRecords; ++index) push(index, 0);
  }
  void push(uint32_t index, int who) {
    content[index](RL_INFO) = who;
    stack.push(index, links());
  }
  uint32_t pop(int who) {
    const uint32_t index = stack.pop(links());
    if (index != pm::kNoIndex) content[index](RL_INFO) = who;
    return index;
  }
  void keep(uint32_t index) {
    if (index != pm::kNoIndex) ++kept[index];
  }
  // Every record is kept by a thread or on the stack, once.
  void check_at_rest() {
    for (uint32_t at = stack.take_all(), steps = 0; at != pm::kNoIndex; ++steps) {
      RL_ASSERT(steps < kRecords);
      ++kept[at];
      at = next[at].load(std::memory_order_relaxed);
    }
    for (const int count : kept) RL_ASSERT(count == 1);
  }
};

// One thread pops; the other pops two and brings the first back, so that the head looks as it did (ABA).
template <Break kBreak>
struct PopAgainstReturn : rl::test_suite<PopAgainstReturn<kBreak>, 2> {
  Records<kBreak, 2> records;

  void before() { records.fill(); }
  void thread(unsigned index) {
    if (index == 0) return records.keep(records.pop(1));
    const uint32_t first = records.pop(2);
    records.keep(records.pop(2));
    if (first != pm::kNoIndex) records.push(first, 2);
  }
  void after() { records.check_at_rest(); }
};

// Two threads take and bring back; a third takes the whole stack and puts it back as a chain, as a sweep does.
template <Break kBreak>
struct PopAgainstSweep : rl::test_suite<PopAgainstSweep<kBreak>, 3> {
  Records<kBreak, 3> records;

  void before() { records.fill(); }
  void thread(unsigned index) {
    const int who = static_cast<int>(index) + 1;
    if (index != 0) {
      const uint32_t popped = records.pop(who);
      if (popped != pm::kNoIndex) records.push(popped, who);
      return;
    }
    const uint32_t first = records.stack.take_all();
    if (first == pm::kNoIndex) return;
    uint32_t last = first;
    for (uint32_t at = first; at != pm::kNoIndex; at = records.next[at].load(std::memory_order_relaxed)) {
      records.content[at](RL_INFO) = who;
      last = at;
    }
    records.stack.push_chain(first, last, records.links());
  }
  void after() { records.check_at_rest(); }
};

template <typename Suite, template <rl::thread_id_t> typename Scheduler>
bool passes(const char* name, rl::scheduler_type_e search, rl::iteration_t iterations, bool show) {
  std::ofstream nowhere;  // never opened: what is written to it is lost
  rl::test_params params;
  params.output_stream = show ? &std::cout : &nowhere;
  params.progress_stream = &nowhere;
  params.search_type = search;
  params.iteration_count = iterations;
  // What rl::simulate does, but that compiles the scenario for all of its schedulers.
  using Search = Scheduler<Suite::params::thread_count>;
  rl::ostringstream state;  // whose memory is not what the checker counts as the scenario's
  const bool passed = rl::run_test<Suite, Search>(params, state, false) == rl::test_result_success;
  printf("%-26s %s, %llu executions\n", name, rl::test_result_str(params.test_result),
         static_cast<unsigned long long>(params.stop_iteration));
  if (!passed && show) {
    fflush(stdout);
    params.initial_state = state.str();
    params.collect_history = true;
    rl::run_test<Suite, Search>(params, state, true);
  }
  return passed;
}

// Every interleaving, and every stale value a load may return, one store back.
template <typename Suite>
bool passes_all(const char* name, bool show) {
  return passes<Suite, rl::full_search_scheduler>(name, rl::sched_full, 0, show);
}

template <typename Suite>
bool passes_random(const char* name, bool show) {
  return passes<Suite, rl::random_scheduler>(name, rl::sched_random, 200000, show);
}

bool all_pass() {
  bool passed = passes_all<LeaveAgainstFree<Break::nothing, 1>>("leave against one free", true);
  passed = passes_all<TakeAgainstFree<Break::nothing>>("take against free", true) && passed;
  passed = passes_all<FreeAgainstReuse<Break::nothing>>("free against reuse", true) && passed;
  passed = passes_all<PopAgainstReturn<Break::nothing>>("pop against return", true) && passed;
  passed = passes_random<LeaveAgainstFree<Break::nothing, 2>>("leave against two frees", true) && passed;
  passed = passes_random<ReviveAndRefill<Break::nothing>>("revive and refill", true) && passed;
  passed = passes_random<PopAgainstSweep<Break::nothing>>("pop against sweep", true) && passed;
  return passed;
}

// Each break with the scenario that has to notice it.
struct Variant {
  const char* name;
  bool (*passes)(const char* name, bool show);
};

constexpr Variant kBroken[] = {
    {"weak_orders", passes_all<LeaveAgainstFree<Break::weak_orders, 1>>},
    {"no_second_look", passes_all<LeaveAgainstFree<Break::no_second_look, 1>>},
    {"split_exchange", passes_all<LeaveAgainstFree<Break::split_exchange, 1>>},
    {"no_generation", passes_all<FreeAgainstReuse<Break::no_generation>>},
    {"free_not_release", passes_all<FreeAgainstReuse<Break::free_not_release>>},
    {"empty_not_acquire", passes_all<FreeAgainstReuse<Break::empty_not_acquire>>},
    {"take_not_acquire", passes_all<TakeAgainstFree<Break::take_not_acquire>>},
    {"push_not_release", passes_all<PopAgainstReturn<Break::push_not_release>>},
    {"pop_not_acquire", passes_all<PopAgainstReturn<Break::pop_not_acquire>>},
    {"no_tag", passes_all<PopAgainstReturn<Break::no_tag>>},
};

}  // namespace

int main(int count, char** arguments) {
  if (count == 1) return all_pass() ? 0 : 1;
  for (const Variant& variant : kBroken) {
    if (strcmp(arguments[1], variant.name) != 0) continue;
    const bool found = !variant.passes(variant.name, false);
    puts(found ? "the checker found it" : "the checker noticed nothing");
    return found ? 0 : 1;
  }
  fprintf(stderr, "no such break: %s\n", arguments[1]);
  return 2;
}
