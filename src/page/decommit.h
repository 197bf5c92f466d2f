// Giving free pages back to the system, and when growth makes that due. Internal to the page layer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm {

// Bytes that may lie free and resident before growth decommits; set at start.
void set_dirty_limit(uint64_t bytes);

// Decommits up to `goal` granules that may be resident, over all shards; returns the bytes given.
size_t decommit_all(uint64_t goal_granules);

struct DecommitCounters {
  uint64_t calls, bytes;
};
DecommitCounters decommit_counters();

}  // namespace pm
