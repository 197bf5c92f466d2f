// The page of poolmalloc simulate --html: one file with its data, style and script, that asks no network for anything.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SIMULATION_PAGE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SIMULATION_PAGE_H_

#include <string>

namespace pm {

// `data`: the JSON text that the page draws.
std::string simulation_page(const std::string& data);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SIMULATION_PAGE_H_
