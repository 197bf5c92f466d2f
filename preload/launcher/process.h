// What /proc and the files say about a process: whether a library is mapped in it and, if it is not, why.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PROCESS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PROCESS_H_

#include <sys/types.h>

#include <string>

namespace pm {

// Why the library cannot be preloaded into the program that the process runs, as far as the program's file tells; empty
// if nothing speaks against it. `library` is an absolute path without symbolic links.
std::string obstacle(pid_t pid, const std::string& library);

enum class Presence {
  mapped,      // the library is there
  pending,     // the program's start is not over yet
  absent,      // the start is over and the library is not there
  unreadable,  // the process does not show its mappings to us
  gone,        // the process has ended
};

// Looks once; a caller that gets `pending` asks again.
Presence look_for_library(pid_t pid, const std::string& library);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PROCESS_H_
