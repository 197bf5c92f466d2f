// In which order memory nodes help each other out, where hwloc knows it better than the kernel's distances say.
#pragma once

#include "topology/topology.h"

namespace pm {

// True once in the life of a process, at the first call after the heap learnt that there are several nodes.
bool node_order_is_due();

// Puts the order into force. Nodes that the heap does not tell apart are left out; a description that lacks one that it
// does is of another machine (HWLOC_SYNTHETIC), and false is returned.
bool use_node_order(const Topology& machine);

}  // namespace pm
