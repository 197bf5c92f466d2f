// The machine's memory nodes, as the kernel describes them in /sys/devices/system/node.
//
// Nodes are numbered by the kernel, with gaps, and some have memory but no CPUs or CPUs but no memory. Here they are
// numbered from 0 without gaps, the caller's own first: what has memory that this process may use is a node, and a CPU
// without memory of its own belongs to the nearest. A machine with more nodes than kMaxNodes has several share a
// number.
//
// Read with raw system calls, never allocates. Everything goes through `numa()`, so that tests can describe a machine.
// A NumaMap belongs to its caller, who synchronises.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/memory.h"

namespace pm::os {

inline constexpr unsigned kMaxNodes = 16;
inline constexpr uint32_t kMaxNodeCpus = 8192;

struct NumaFunctions {
  // As read_small_file.
  long (*read)(const char* path, char* buffer, size_t size);
  // Whether the thread runs under a memory policy that somebody chose for it (numactl, set_mempolicy).
  bool (*has_policy)();
};

const NumaFunctions& numa();
// Tests only; not thread-safe. nullptr restores the kernel's.
void set_numa_functions(const NumaFunctions* functions);

struct NumaMap {
  unsigned count;                   // numbers in use: at least 1
  unsigned with_memory;             // nodes that this process may use; more than `count` if some share a number
  uint16_t kernel_node[kMaxNodes];  // the first one of the number
  bool shared[kMaxNodes];           // more than one node has this number
  bool has_cpus[kMaxNodes];
  uint8_t distance[kMaxNodes][kMaxNodes];
  uint8_t node_of_cpu[kMaxNodeCpus];
  NodeMask kernel_nodes;  // all of them
};

// Fills `map`; the node of `cpu` gets number 0. False, and one node, where the kernel has no nodes to show. One call at
// a time.
bool read_numa(uint32_t cpu, NumaMap& map);

// Bytes of the node that nothing uses, not even as a cache, and that the kernel does not keep back; UINT64_MAX if it
// does not tell.
uint64_t free_node_bytes(unsigned kernel_node);

// Whether a system call filter is in force: a call it does not expect may end the process.
bool is_filtered();

}  // namespace pm::os
