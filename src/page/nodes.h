// Which of the machine's memory nodes the heap tells apart, and where fresh memory shall lie.
//
// A process begins with one node, whatever the machine has, and learns the others when its heap has grown to 32 MiB: a
// small process never looks. Then the region is divided, each node has shards, slabs and a depot of its own, and fresh
// memory is bound to its node. On a machine with one node nothing of that happens, and all that is left is a load and a
// compare of `node_count()` on cold paths.
//
// A policy that the process was started under (numactl) is left alone: the heap then stays with one node.
//
// Thread-safe. Learning is done by one thread, which publishes with the count (release, under the region's lock).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "os/cpu.h"
#include "page/granule.h"
#include "page/shard_id.h"

namespace pm {

enum class NumaMode : uint8_t { automatic, off, interleave };

struct NumaOptions {
  NumaMode mode;
  int preferred;  // the kernel's number of the node that all memory shall come from, or -1
};

// With an option that asks for it the nodes are learnt at once. False if the preferred node is none of this machine or
// not for this process: it is ignored then.
bool nodes_init(const NumaOptions& options);

// Not below: use the functions.
namespace nodes {
extern PM_SHARED std::atomic<unsigned> count;
extern PM_SHARED std::atomic<size_t> learn_at;
extern PM_SHARED std::atomic<bool> binds;
PM_COLD void learn();
PM_COLD void bind(uintptr_t start, size_t bytes, unsigned node);
PM_COLD bool has_room(unsigned node, size_t bytes);
unsigned of_cpu(uint32_t cpu);
// Tests only: says that a CPU belongs to a node.
void put_cpu_on(uint32_t cpu, unsigned node);
}  // namespace nodes

// Acquire pairs with the release in learn(): the map and the region's ranges are there.
inline unsigned node_count() { return nodes::count.load(std::memory_order_acquire); }

// The node of the CPU that the thread runs on; a hint.
inline unsigned this_node() { return node_count() == 1 ? 0 : nodes::of_cpu(os::current_cpu()); }

// The heap is about to grow from `committed` bytes. Relaxed: who misses it learns at the next growth.
inline void learn_nodes_if_due(size_t committed) {
  if (PM_UNLIKELY(committed >= nodes::learn_at.load(std::memory_order_relaxed))) nodes::learn();
}

// The nodes from `node` on in the order in which they help out: order(node, 0) is itself, those without CPUs are last.
unsigned fallback_node(unsigned node, unsigned i);
// Replaces the order of one node; `order` has node_count() numbers. False if they are not each node once, itself first.
bool set_fallback_order(unsigned node, const uint8_t* order);

// Whether the node has `bytes` that nothing uses; true wherever that cannot be known, and on one node.
inline bool node_has_room(unsigned node, size_t bytes) { return node_count() == 1 || nodes::has_room(node, bytes); }

// Says of memory that nobody touched yet where it shall lie. A refusal is counted; the memory serves all the same.
inline void bind_fresh(uintptr_t start, size_t bytes, unsigned node) {
  // Acquire pairs with the release in learn() and nodes_init(): the map is there. A thread that misses the change
  // leaves one chunk to the kernel's choice.
  if (PM_UNLIKELY(nodes::binds.load(std::memory_order_acquire))) nodes::bind(start, bytes, node);
}

// The kernel's number of a node.
unsigned kernel_node(unsigned node);

void count_fallback();
struct NodeCounters {
  uint64_t fallbacks, bound_bytes, bind_failures;
};
NodeCounters node_counters();

// In a forked child: learning that another thread had begun begins anew, or is brought to its end.
void nodes_after_fork_child();

}  // namespace pm
