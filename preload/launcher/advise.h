// `poolmalloc advise`: options that would serve a process better, from what it published of itself.
//
// recommend() is arithmetic on one page. Each advice rests on counts since the process began, so it is worth asking for
// once the program has done its usual work for a while; with less there is none.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_ADVISE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_ADVISE_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "metrics/page.h"

namespace pm {

struct Advice {
  std::string option;  // "dirty_bytes"
  std::string value;   // as the option takes it
  std::string reason;  // what was observed, with numbers, and what is gained
  std::string cost;    // what it costs
};

// Fewer calls than this say nothing about what a program usually does.
inline constexpr uint64_t kLeastCalls = 1'000'000;

// What the process set itself is not advised against, whatever it does.
bool is_set(const PageBody& page, const std::string& option);

std::vector<Advice> recommend(const PageBody& page);

// The environment variable of an option: "POOLMALLOC_DIRTY_BYTES". Of an unknown one, its name.
std::string variable_of(const std::string& option);

// Prints the advice as lines that a shell or systemd's EnvironmentFile= reads, each after its reason as a comment. The
// exit code: 0; 1 if the process cannot be looked at, with one line on stderr.
int print_advice(std::optional<pid_t> pid, bool as_json);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_ADVISE_H_
