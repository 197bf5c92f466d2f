// The module that knows the machine through hwloc, and when it is loaded.
#ifndef POOLMALLOC_PRELOAD_TOPOLOGY_H_
#define POOLMALLOC_PRELOAD_TOPOLOGY_H_

namespace pm {

// Called where a thread is about to start: on a machine with several memory nodes, once the heap tells them apart, it
// loads libpoolmalloc-topology.so from beside this library, hands what it says to the heap, and unloads it. Where the
// module or hwloc is missing the kernel's distances stay in force. Otherwise a load and a compare.
void load_topology_if_due();

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_TOPOLOGY_H_
