// The processes that the command looks at from outside: finding them, saying what they are, and reading the statistics
// page of those that publish one (metrics/page.h). Nothing here writes to, stops or calls into a process.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_TARGET_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_TARGET_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "metrics/page.h"

namespace pm {

enum class TargetState {
  published,      // runs on poolmalloc and its statistics can be read
  unpublished,    // runs on poolmalloc, but there is no page (yet)
  other_version,  // publishes a page of another version's
  foreign,        // runs on another allocator
  forbidden,      // another user's, or one that does not let itself be looked at
  gone,           // there is no such process, or it has ended
};

struct Target {
  pid_t pid = 0;
  TargetState state = TargetState::gone;
  std::string program;    // the name of the program, as ps says it
  std::string library;    // the file of libpoolmalloc.so; empty where it is linked statically, or for other states
  std::string allocator;  // of a foreign one, for people: "jemalloc (libjemalloc.so.2)"
  std::string version;    // of the library, where there is a page
  // One line, without a full stop or newline, that says why there is nothing to read and what to do about it. Empty if
  // published.
  std::string complaint;
  std::shared_ptr<const StatisticsPage> page;  // if published; stays readable when the process has ended
};

// Looks at one process.
Target open_target(pid_t pid);

// Every process that the caller may look at and that runs on poolmalloc, by rising pid: published, unpublished and
// other_version. `hidden` gets the number of processes that could not be looked at.
std::vector<Target> find_targets(unsigned* hidden = nullptr);

// The process that a command is about: `pid`, or without it the only one there is. Unless it is published, one line on
// stderr says why ("poolmalloc: ..."), and nothing is returned: exit code 1.
std::optional<Target> choose_target(std::optional<pid_t> pid);
// The same for commands that need no page: unpublished and other_version are returned as well.
std::optional<Target> choose_process(std::optional<pid_t> pid);

// What a published target's page says now; false if it is being written for longer than a second, as in a process that
// was stopped in that moment, with a line on stderr.
bool read_page(const Target& target, PageBody& out);
bool read_snapshot(const Target& target, Snapshot& out);

// Whether the process that the target was is still there.
bool is_alive(const Target& target);

// When the process began, in seconds since 1970, and how long it has run, both 0 if unknown.
struct ProcessAge {
  uint64_t started_unix_s;
  uint64_t seconds;
};
ProcessAge process_age(pid_t pid);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_TARGET_H_
