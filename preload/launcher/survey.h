// All processes on poolmalloc at once, for the server: found anew every second at most, read anew at every look.
//
// One thread uses it. What a process says of itself is not trusted: its texts are made harmless before they are used.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SURVEY_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SURVEY_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "preload/launcher/target.h"

namespace pm {

struct SurveyRequest {
  std::vector<pid_t> pids;            // these alone; none: every process
  std::vector<std::string> programs;  // with one of these names, as shell patterns; none: any
  unsigned max_processes = 200;
};

struct SurveyedProcess {
  Target target;
  uint64_t started_unix_s = 0;
  std::string cgroup_path;
  std::string cgroup;  // its last part: the container or service; empty at the top and where it cannot be read
  std::unique_ptr<PageBody> page;  // null if it publishes nothing that can be read; target.complaint says why
};

struct Survey {
  std::vector<SurveyedProcess> processes;  // by age, the oldest first
  unsigned forbidden = 0;                  // processes that may not be looked at, whatever they run on
  unsigned left_out = 0;                   // by max_processes
  double seconds = 0;                      // that it took
  uint64_t number = 0;                     // rises with each that was not a repetition
};

class Surveyor {
 public:
  explicit Surveyor(SurveyRequest request) : request_(std::move(request)) {}
  // Valid until the next call.
  const Survey& look();
  // One process on poolmalloc, also one that has just begun or was left out: why it cannot be read is in its complaint.
  // Null if it was not asked for, and for all others: what else runs on the machine is not for whoever reaches the
  // port.
  const SurveyedProcess* find(pid_t pid);

 private:
  bool is_asked_for(const Target& target) const;
  SurveyedProcess describe(Target target) const;
  void find_processes();

  SurveyRequest request_;
  Survey survey_;
  SurveyedProcess other_;
  int64_t find_due_ns_ = 0;
  int64_t read_due_ns_ = 0;
};

// "read"; "unpublished", "other_version": as the target's state; "stuck": it publishes, but does not end a write.
const char* state_name(const SurveyedProcess& process);

// What people call a control group: the service or container at the end of its path, a container by the first twelve
// digits of its id, as the engines' own lists do.
std::string cgroup_name(const std::string& path);

// The path of the group that limits memory, from the text of /proc/PID/cgroup; empty at the top.
std::string memory_cgroup(const std::string& text);

// In double quotes, as OpenMetrics wants a label's value: valid UTF-8 without control characters, whatever it was.
std::string quoted_label(const std::string& text);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SURVEY_H_
