// A heap profile as a tree of calls, for the report's flame graph, and its functions as rows of a table.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_FLAME_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_FLAME_H_

#include <nlohmann/json.hpp>

#include "preload/launcher/profile_stacks.h"

namespace pm {

// {"weights": ["inuse", ...], "names": [...], "tree": NODE, "functions": [...], "taken_ms", "period", "dropped",
// "executable"}. A NODE is [index of its name, [bytes of each weight], [its callees]]; callees that have less than a
// two-thousandth of the whole by every weight are left out, so the tree stays small. Functions are the 30 that
// allocated most of what is in use: {"name", "flat": [...], "cumulative": [...]} in bytes of each weight.
nlohmann::ordered_json flame_json(const StackProfile& profile);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_FLAME_H_
