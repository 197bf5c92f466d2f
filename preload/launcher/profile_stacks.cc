#include "preload/launcher/profile_stacks.h"

#include <algorithm>
#include <set>

namespace pm {
namespace {

std::vector<std::string> names_of(const StackProfile& profile, const Stack& stack) {
  std::vector<std::string> names;
  for (uint32_t function : functions_of(profile, stack)) names.push_back(profile.functions[function].name);
  return names;
}

bool is_nothing(const Amounts& amounts) {
  const auto zero = [](const Amount& amount) { return amount.objects.value == 0 && amount.bytes.value == 0; };
  return std::all_of(amounts.of.begin(), amounts.of.end(), zero) &&
         std::all_of(amounts.live_by_age.begin(), amounts.live_by_age.end(), zero);
}

// Copies what a stack refers to from one profile to another, each thing once.
class Adopter {
 public:
  Adopter(const StackProfile& from, StackProfile& to)
      : from_(from),
        to_(to),
        mappings_(from.mappings.size(), kNone),
        functions_(from.functions.size(), kNone),
        locations_(from.locations.size(), kNone) {}

  void adopt(const Stack& stack, const Amounts& amounts) {
    Stack copy = {{}, stack.object_size, amounts};
    for (uint32_t location : stack.locations) copy.locations.push_back(location_for(location));
    to_.stacks.push_back(std::move(copy));
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Where the thing with this index went; on the first request it is copied.
  template <typename Thing>
  static uint32_t place_of(uint32_t index, std::vector<uint32_t>& known, const std::vector<Thing>& from,
                           std::vector<Thing>& to) {
    if (known[index] == kNone) {
      known[index] = static_cast<uint32_t>(to.size());
      to.push_back(from[index]);
    }
    return known[index];
  }

  uint32_t location_for(uint32_t index) {
    if (locations_[index] != kNone) return locations_[index];
    Location copy = from_.locations[index];
    if (copy.mapping != kNoMapping) copy.mapping = place_of(copy.mapping, mappings_, from_.mappings, to_.mappings);
    for (Line& line : copy.lines) line.function = place_of(line.function, functions_, from_.functions, to_.functions);
    to_.locations.push_back(std::move(copy));
    return locations_[index] = static_cast<uint32_t>(to_.locations.size() - 1);
  }

  const StackProfile& from_;
  StackProfile& to_;
  std::vector<uint32_t> mappings_, functions_, locations_;
};

}  // namespace

std::vector<uint32_t> functions_of(const StackProfile& profile, const Stack& stack) {
  std::vector<uint32_t> functions;
  for (auto location = stack.locations.rbegin(); location != stack.locations.rend(); ++location) {
    const std::vector<Line>& lines = profile.locations[*location].lines;
    for (auto line = lines.rbegin(); line != lines.rend(); ++line) functions.push_back(line->function);
  }
  return functions;
}

std::vector<NamedStack> by_names(const StackProfile& profile) {
  std::map<std::vector<std::string>, Amounts> sums;
  for (const Stack& stack : profile.stacks) sums[names_of(profile, stack)] += stack.amounts;
  std::vector<NamedStack> stacks;
  for (auto& [names, amounts] : sums) stacks.push_back({names, amounts});
  return stacks;
}

std::vector<FunctionTotal> by_function(const StackProfile& profile) {
  std::map<std::string, FunctionTotal> totals;
  for (const Stack& stack : profile.stacks) {
    const std::vector<std::string> names = names_of(profile, stack);
    if (!names.empty()) totals[names.back()].flat += stack.amounts;
    // A function that calls itself is on the stack more than once, and counts once.
    for (const std::string& name : std::set<std::string>(names.begin(), names.end())) {
      totals[name].cumulative += stack.amounts;
    }
  }
  std::vector<FunctionTotal> functions;
  for (auto& [name, function] : totals) {
    function.name = name;
    functions.push_back(function);
  }
  return functions;
}

Amounts total(const StackProfile& profile) {
  Amounts sum;
  for (const Stack& stack : profile.stacks) sum += stack.amounts;
  return sum;
}

StackProfile difference(const StackProfile& before, const StackProfile& after) {
  struct Change {
    const Stack* stack = nullptr;  // one with these names, of the later profile if it has one
    bool is_after = false;
    Amounts amounts;
  };
  std::map<std::vector<std::string>, Change> changes;
  const auto add = [&changes](const StackProfile& profile, bool is_after) {
    for (const Stack& stack : profile.stacks) {
      Change& change = changes[names_of(profile, stack)];
      if (change.stack == nullptr) {
        change.stack = &stack;
        change.is_after = is_after;
      }
      if (is_after) {
        change.amounts += stack.amounts;
      } else {
        change.amounts -= stack.amounts;
      }
    }
  };
  add(after, true);
  add(before, false);

  StackProfile result;
  result.pid = after.pid;
  result.executable = after.executable;
  result.taken_ms = after.taken_ms;
  result.started_ms = before.taken_ms;
  result.period = after.period;
  result.dropped = before.dropped + after.dropped;
  result.notes = after.notes;
  for (const std::string& note : before.notes) {
    if (std::find(result.notes.begin(), result.notes.end(), note) == result.notes.end()) result.notes.push_back(note);
  }
  Adopter from_before(before, result), from_after(after, result);
  for (const auto& [names, change] : changes) {
    if (is_nothing(change.amounts)) continue;
    Stack stack = *change.stack;
    stack.object_size = 0;
    (change.is_after ? from_after : from_before).adopt(stack, change.amounts);
  }
  return result;
}

}  // namespace pm
