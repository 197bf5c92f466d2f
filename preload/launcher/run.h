// `poolmalloc run`: starts a program with the library preloaded, checks that it is there, and stands in for the program
// towards whoever started it: signals go in, the exit code comes out.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_RUN_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_RUN_H_

#include <string>
#include <vector>

namespace pm {

struct RunRequest {
  std::vector<std::string> command;   // the program and its arguments
  std::vector<std::string> settings;  // name=value
  std::string library;                // empty: the one installed or built beside this tool
  bool quiet = false;                 // says nothing of its own, unless something fails
};

// Returns the exit code: the program's own; 128 + n if signal n ended it; 127 if there is no such program and 126 if it
// cannot be executed; 2 if the request is bad.
int run(const RunRequest& request);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_RUN_H_
