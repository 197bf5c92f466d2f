// `poolmalloc status`, `ps` and `stats`: what processes publish of themselves, read from outside.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_STATUS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_STATUS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

namespace pm {

// Each returns the exit code: 0; 1 if it could not be done, with one line on stderr.

// Whether the library is active in a process, how, and what it has done there. Without a pid, the only process there
// is.
int print_status(std::optional<pid_t> pid, bool as_json);
// Every process on poolmalloc that may be looked at.
int print_processes(bool as_json);
// All metrics of a process, as its own report at exit would have them now. `format`: text, json or openmetrics.
int print_statistics(std::optional<pid_t> pid, const std::string& format);

// Names of numbers in a Snapshot, and sums over its rows.
struct Snapshot;
struct Target;
std::string process_line(const Target& target);  // a process in one line of 80 columns
const char* level_name(uint64_t level);
const char* worker_name(uint64_t state);
const char* trend_name(uint64_t trend);
uint64_t released_bytes(const Snapshot& snapshot);  // given back to the system, by whatever reason

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_STATUS_H_
