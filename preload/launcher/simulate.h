// poolmalloc simulate: plays curves of memory use through the library's plan and prints what that costs.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SIMULATE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SIMULATE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace pm {

enum class SimulateFormat { text, json, csv };

struct SimulateRequest {
  std::string curve_file;  // empty: a family
  std::string family;
  uint64_t seed = 1;
  unsigned seeds = 3;  // with `all`
  double seconds = 1800;
  double hertz = 2;
  std::string backing;  // empty: each of them
  bool all = false;
  SimulateFormat format = SimulateFormat::text;
  std::string html_file;
  std::vector<std::string> settings;  // name=value, options of the library
};

// Returns the exit code: 0, or 2 with one line on stderr if the request, the curve or the output file is bad.
int simulate(const SimulateRequest& request);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SIMULATE_H_
