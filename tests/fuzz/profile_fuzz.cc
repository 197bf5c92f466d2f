// Bytes read as a heap profile, as they are and spliced into a whole one: the parser takes it or names a line, and what
// it takes can be written in every format.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "preload/launcher/leaks.h"
#include "preload/launcher/profile_pprof.h"
#include "preload/launcher/profile_text.h"

namespace {

using namespace pm;

constexpr std::string_view kWhole =
    "poolmalloc-profile 1\n"
    "process 4711 1700000000 /opt/program\n"
    "taken 1700000100.250\n"
    "started 1700000001.007\n"
    "period 524288\n"
    "dropped 17\n"
    "mapping 400000 500000 1000 0123abcdef here /opt/program\n"
    "site 0 64 10 5 6 3 age 1 0 2 0 0 0 0 2 stack 400100 400200 7f0000000010\n"
    "site 1 1048576 3 3 3 0 age 3 0 0 0 0 0 0 0 stack 400300\n"
    "end 2\n";

void require(bool condition) {
  if (!condition) std::abort();
}

// Without symbols, which are read from files and not from the profile.
StackProfile unresolved(const HeapProfile& profile) {
  StackProfile stacks;
  stacks.pid = profile.pid;
  stacks.executable = profile.executable;
  stacks.taken_ms = profile.taken_ms;
  stacks.started_ms = profile.started_ms;
  stacks.period = profile.period;
  stacks.mappings = profile.mappings;
  stacks.functions = {{profile.executable, {}, {}, 0}};
  stacks.locations = {{1, profile.mappings.empty() ? kNoMapping : 0, false, false, {{0, 0}}}};
  for (const ProfileSite& site : profile.sites)
    stacks.stacks.push_back({{0}, site.size, estimate(site, profile.period)});
  return stacks;
}

void read(std::string_view text) {
  HeapProfile profile;
  ProfileError error;
  if (!parse_profile(text, profile, error)) {
    require(error.line >= 1 && !error.what.empty());
    return;
  }
  require(!profile.executable.empty() && profile.period >= 1);
  const StackProfile stacks = unresolved(profile);
  require(!pprof_file(stacks).empty() && !speedscope_text(stacks).empty());
  require(!top_text(stacks, {}, 0).empty() && !diff_json(stacks, {}, 0).empty());
  collapsed_text(stacks, {});
  leaks_text(find_leaks(stacks, 4, &stacks), stacks, 0);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) { return 0; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  read(input);
  if (size < 4) return 0;
  // The first bytes say where the rest goes in, and how much of the whole profile it replaces.
  const size_t at = (data[0] * 256u + data[1]) % (kWhole.size() + 1);
  const size_t replaced = data[2] % (kWhole.size() - at + 1);
  std::string spliced(kWhole.substr(0, at));
  spliced += input.substr(3);
  spliced += kWhole.substr(at + replaced);
  read(spliced);
  return 0;
}
