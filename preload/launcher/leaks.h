// Which call stacks hold memory that is old: what `poolmalloc leaks` prints.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_LEAKS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_LEAKS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "preload/launcher/profile_stacks.h"

namespace pm {

struct Leak {
  std::vector<std::string> functions;  // outermost first
  Amount old;                          // live for as long as was asked
  Amounts amounts;                     // all that is counted of the stack
  std::optional<Amount> growth;        // of what is live, from an earlier profile to this one
};

struct LeakReport {
  uint64_t older_than_s = 0;  // the step of ages that serves: as asked, or the next longer one
  double watched_s = 0;       // between the two profiles; 0: there was one only
  Amount old;
  std::vector<Leak> leaks;  // those that have old bytes, the most first; if watched, those that grew before the others
};

// The step of ages that begins at so many seconds or next after; nothing beyond the last.
std::optional<size_t> age_step(uint64_t seconds);

LeakReport find_leaks(const StackProfile& profile, size_t step, const StackProfile* earlier);

std::string leaks_text(const LeakReport& report, const StackProfile& profile, size_t rows);
std::string leaks_json(const LeakReport& report, const StackProfile& profile, size_t rows);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_LEAKS_H_
