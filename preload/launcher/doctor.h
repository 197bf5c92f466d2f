// `poolmalloc doctor`: what about a machine or a process keeps the allocator from doing well, each finding with its
// remedy; and why a process's resident memory is more than what it has in use.
//
// examine_* and split are arithmetic on what was read (facts.h) and on what the process published (metrics/page.h).
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_DOCTOR_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_DOCTOR_H_

#include <optional>
#include <string>
#include <vector>

#include "metrics/page.h"
#include "preload/launcher/facts.h"

namespace pm {

enum class Severity { fine, note, warning, problem };

struct Finding {
  Severity severity;
  std::string about;   // a word or two: "overcommit"
  std::string what;    // what was found, with numbers
  std::string remedy;  // what to do about it; empty if fine, or if there is nothing to do
};

std::vector<Finding> examine_machine(const MachineFacts& machine);
// `page` is null where the process publishes nothing.
std::vector<Finding> examine_process(const ProcessFacts& process, const MachineFacts& machine, const PageBody* page);

// A part of the resident memory. Together they are the whole, but for what changed between two looks.
struct Share {
  std::string name;
  uint64_t bytes;
  std::string meaning;
};
std::vector<Share> split_resident(const ProcessFacts& process, const PageBody& page);

// Prints both. Without a pid, the machine alone. The exit code is 0; 1 if the process cannot be looked at, with one
// line on stderr; 3 if there is a finding of severity problem.
inline constexpr int kProblemFound = 3;
int print_examination(std::optional<pid_t> pid, bool as_json);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_DOCTOR_H_
