// Where profiles come from: a file, stdin, or a process that is asked for one.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_SOURCE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_SOURCE_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "preload/launcher/profile.h"

namespace pm {

// The process that the word means: a number, unless there is a file of that name.
std::optional<pid_t> process_meant(const std::string& source);

// The functions below return false with one line on stderr.

bool start_profile(pid_t pid, uint64_t period);  // 0: the library's default
bool stop_profile(pid_t pid);

// Reads the dump that `source` means, a process, a file or "-" for stdin; `text` is the dump as it came.
bool load_profile(const std::string& source, std::string& text, HeapProfile& profile);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_SOURCE_H_
