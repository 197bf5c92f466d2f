// Giving free pages back to the system, and when growth makes that due. Internal to the page layer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "page/page.h"

namespace pm {

struct Thoroughness {
  bool wait = false;         // for shards that are busy; nobody who allocates waits here
  bool break_dense = false;  // take what breaks the huge page of a dense block
  TrimScope scope = TrimScope::everything;
};
// Decommits up to `goal` granules that may be resident, over all shards; returns the bytes given. Whole free extents go
// first, then runs in sparse huge blocks.
size_t decommit_all(uint64_t goal_granules, Thoroughness how);

// While it is set no decommit begins: what one has in hand would be lost to a forked child, as far as memory goes.
void hold_decommits(bool hold);

// For tests and simulations: another clock, in nanoseconds; nullptr for the real one. Not thread-safe.
void set_decommit_clock(uint64_t (*clock)());

struct DecommitCounters {
  uint64_t calls, bytes, growth_bytes;
};
DecommitCounters decommit_counters();

}  // namespace pm
