// One look at the process, its memory and its limit. Plain data; owned by forecast so that forecasts stay pure.
#pragma once

#include <cstdint>

namespace pm {

inline constexpr uint64_t kNoLimit = UINT64_MAX;

// What the allocator itself knows, handed to observe by its caller (observe sees no heap). Totals count since start.
struct HeapFigures {
  uint64_t used_bytes;   // granules in slabs and large objects: what the layers above the page layer hold
  uint64_t dirty_bytes;  // free and resident
  uint64_t committed_bytes;
  uint64_t cached_bytes;       // free objects in magazines and depot
  uint64_t allocated_bytes;    // total handed out to the program
  uint64_t freed_bytes;        // total taken back
  uint64_t refaulted_bytes;    // total: decommitted memory taken into use again
  uint64_t decommitted_bytes;  // total
};

// Sources a sample may lack; a bit each in Sample::missing.
enum class Source : uint8_t { statm, usage, limit, pressure, host, events };

struct Sample {
  uint64_t time_ns;         // CLOCK_MONOTONIC at the reading
  uint64_t process_cpu_ns;  // total: CPU time of all its threads
  HeapFigures heap;
  uint64_t resident_bytes;  // of the process, by statm
  uint64_t usage_bytes;  // what the limit counts: the cgroup's usage less its inactive file pages; RSS without a cgroup
  uint64_t limit_bytes;  // of the tightest limiting ancestor (usage and limit from the same group), or kNoLimit
  uint64_t host_available_bytes;
  uint64_t stall_ns;      // total: PSI "some" of the group (or the system)
  uint64_t limit_events;  // total: memory.events high + max, or v1 failcnt
  uint32_t missing;       // bits of Source
};

}  // namespace pm
