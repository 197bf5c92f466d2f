// `poolmalloc top`: a process's memory as it changes, in a terminal or as frames of text.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_TOP_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_TOP_H_

#include <sys/types.h>

#include <optional>
#include <string>

namespace pm {

struct TopRequest {
  std::optional<pid_t> pid;  // without one: the only process, or a list to choose from
  double seconds = 1;        // between looks
  bool batch = false;        // frames on stdout
  unsigned frames = 0;       // of them; 0: until the process ends
  std::string pane = "classes";
};

// Returns the exit code: 0; 1 if it could not be done or, in a batch, if the process ended before the last frame.
int top(const TopRequest& request);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_TOP_H_
