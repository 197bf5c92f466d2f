// The call sites on a process's statistics page, by the names of their functions: for `poolmalloc top`.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_LIVE_SITES_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_LIVE_SITES_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "metrics/page.h"

namespace pm {

struct LiveSite {
  uint64_t bytes;  // in use, as the samples say
  double error;    // the standard error of that
  uint64_t objects;
  uint64_t size;                       // of one, of large ones the mean
  std::vector<std::string> functions;  // innermost first
};

// Names are looked up once, in the files that the process has mapped now, and kept while it maps the same. A look at a
// program with much debug information takes a second or two.
class LiveSites {
 public:
  std::vector<LiveSite> of(pid_t pid, const PageBody& page);

 private:
  using Addresses = std::vector<uint64_t>;

  std::string mappings_;  // the lines of code in /proc/PID/maps
  std::map<Addresses, std::vector<std::string>> names_;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_LIVE_SITES_H_
