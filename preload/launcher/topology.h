// `poolmalloc topology`: what the library would see of this machine's memory nodes, and what it would do with them.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_TOPOLOGY_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_TOPOLOGY_H_

namespace pm {

// Prints a summary and the tree of the machine's parts, or one JSON object. Returns the exit code: 0; 1 if the machine
// cannot be read; 2 if the command was built without hwloc.
int print_topology(bool as_json);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_TOPOLOGY_H_
