// A heap profile with the names of its functions and its samples scaled: what every output is written from.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_STACKS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_STACKS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "preload/launcher/profile.h"
#include "preload/launcher/profile_estimate.h"

namespace pm {

struct Function {
  std::string name;         // for people; of an unknown one the module and the address in it, "libfoo.so+0x1234"
  std::string system_name;  // as in the symbol table
  std::string source;       // path; empty: not known
  int start_line = 0;
};

struct Line {
  uint32_t function;  // index
  int line;           // 0: not known
};

inline constexpr uint32_t kNoMapping = UINT32_MAX;

struct Location {
  uint64_t address;         // of the call in the process that was profiled
  uint32_t mapping;         // index, or kNoMapping
  bool known;               // the symbols told; otherwise there is one line, of an unknown function
  bool has_lines;           // and the source lines too
  std::vector<Line> lines;  // innermost first
};

struct Stack {
  std::vector<uint32_t> locations;  // indices, innermost first
  uint64_t object_size;             // 0: several
  Amounts amounts;
};

struct StackProfile {
  // What the header of the dump says; of a difference, of the later one.
  uint64_t pid = 0;
  std::string executable;
  int64_t taken_ms = 0;
  int64_t started_ms = 0;
  uint64_t period = 1;
  uint64_t dropped = 0;

  std::vector<ProfileMapping> mappings;
  std::vector<Function> functions;
  std::vector<Location> locations;
  std::vector<Stack> stacks;
  std::vector<std::string> notes;  // for people: files that could not serve for symbols, each with the reason
};

// Finds the names and scales the samples.
StackProfile resolve(const HeapProfile& profile);

// The functions of a stack, outermost first, inlined ones included.
std::vector<uint32_t> functions_of(const StackProfile& profile, const Stack& stack);

// One entry for all stacks of the same function names: what flame graphs, tables and comparisons show.
struct NamedStack {
  std::vector<std::string> functions;  // outermost first
  Amounts amounts;
};
// Ordered by the names.
std::vector<NamedStack> by_names(const StackProfile& profile);

struct FunctionTotal {
  std::string name;
  Amounts flat;        // allocated by the function itself
  Amounts cumulative;  // and by what it called
};
std::vector<FunctionTotal> by_function(const StackProfile& profile);

Amounts total(const StackProfile& profile);

// What changed from `before` to `after`, with one stack for those of the same names; negative where less is used.
// Stacks without any difference are left out.
StackProfile difference(const StackProfile& before, const StackProfile& after);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_STACKS_H_
