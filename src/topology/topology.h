// What hwloc knows of the machine's memory nodes, as plain data.
//
// This folder is a module of its own, libpoolmalloc-topology.so, because it needs hwloc: the library loads it on
// machines with more than one node only, when a thread is started and never on a malloc path, and does without where it
// is missing. The poolmalloc command is linked with it. hwloc's variables are honoured, HWLOC_SYNTHETIC and
// HWLOC_XMLFILE among them.
//
// Thread-safe: every call reads the machine anew.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm {

inline constexpr unsigned kTopologyNodes = 64;
inline constexpr unsigned kTopologyCaches = 256;
inline constexpr unsigned kTopologyCpuWords = 16;  // 1024 CPUs

struct TopologyNode {
  uint32_t kernel_node;  // the kernel's number
  uint32_t cpus;         // 0: memory that no CPU is near to, which is used when the others have none
  uint64_t memory_bytes;
  uint64_t cpu_set[kTopologyCpuWords];
};

// A last-level cache that several CPUs share.
struct TopologyCache {
  uint32_t level;
  uint32_t cpus;
  uint64_t bytes;
  uint64_t cpu_set[kTopologyCpuWords];
};

struct Topology {
  uint32_t bytes;  // of this struct, by the caller: a module of another version refuses
  uint32_t node_count;
  uint32_t cache_count;
  uint32_t left_out;   // nodes and caches beyond the tables
  uint32_t described;  // 1: of a machine that a variable of hwloc's describes, not of this one
  TopologyNode nodes[kTopologyNodes];
  // As the firmware says, 10 for a node itself; 0 if unknown. From row to column, by place in `nodes`.
  uint16_t distance[kTopologyNodes][kTopologyNodes];
  // For each node the places of all nodes with memory in the order in which they help out: itself, then those with CPUs
  // before those without, the nearer before the farther, and of equals the one with more bandwidth.
  uint8_t order[kTopologyNodes][kTopologyNodes];
  uint32_t order_length;
  TopologyCache caches[kTopologyCaches];
};

using TopologyWriter = void (*)(void* context, const char* data, size_t size);

}  // namespace pm

// Fills `out`, whose `bytes` is set. 0, or an errno: EINVAL for a struct of another size, ENODATA for a machine without
// nodes or a description that hwloc cannot read.
extern "C" int pm_topology_read(pm::Topology* out);
// Writes the tree of the machine's parts, a line each. Errors as above.
extern "C" int pm_topology_draw(pm::TopologyWriter write, void* context);

using TopologyReader = decltype(&pm_topology_read);
