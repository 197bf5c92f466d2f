// A heap profile as the library dumps it, and what reads it.
//
// The dump is text, written in one pass: a header, a line for each mapping, a line for each site (a call stack and an
// object size), and a last line that says that it is whole. Counts are samples: profile_estimate.h makes objects and
// bytes of them.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pm {

// Live samples are counted by age. Each step begins where the one before it ends; the last has no end.
inline constexpr std::array<uint64_t, 8> kAgeStepSeconds = {0, 1, 10, 60, 300, 1800, 7200, 43200};
inline constexpr size_t kAgeSteps = kAgeStepSeconds.size();

struct ProfileMapping {
  uint64_t start;
  uint64_t end;
  uint64_t offset;       // in the file
  std::string build_id;  // hexadecimal; empty: not known
  bool gone;             // unmapped before the dump was taken
  std::string path;
};

struct ProfileSite {
  uint64_t size;  // of one object
  uint64_t allocated;
  uint64_t live;
  uint64_t peak;       // live when the whole profile's live bytes were highest
  uint64_t temporary;  // freed again at once
  std::array<uint64_t, kAgeSteps> ages;
  std::vector<uint64_t> stack;  // return addresses, innermost first
};

struct HeapProfile {
  uint64_t pid;
  uint64_t process_start_s;  // times since 1970
  std::string executable;
  int64_t taken_ms;
  int64_t started_ms;
  uint64_t period;   // mean bytes between samples; 1: every allocation is one
  uint64_t dropped;  // samples that were not recorded
  std::vector<ProfileMapping> mappings;
  std::vector<ProfileSite> sites;
};

struct ProfileError {
  size_t line;
  std::string what;
};

// Whatever the text is, one of the two happens: it is a whole, well-formed dump and `profile` holds it; or false, and
// `error` names the first line that is not as it should be.
bool parse_profile(std::string_view text, HeapProfile& profile, ProfileError& error);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_H_
