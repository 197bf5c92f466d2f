#include "preload/launcher/profile_text.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "preload/launcher/units.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

constexpr Weight kAllWeights[] = {Weight::inuse, Weight::alloc, Weight::peak, Weight::temporary};

const char* name_of(Weight weight) { return kWeightNames[static_cast<size_t>(weight)]; }

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

const Estimate& in_view(const Amounts& amounts, const View& view) { return amounts[view.weight].in(view.unit); }

// Semicolons part the functions of a line, and would part a Rust array type as well.
std::string one_word(std::string name) {
  std::replace(name.begin(), name.end(), ';', ',');
  return printable(name);
}

std::string share(double part, double whole) { return whole == 0 ? "-" : format("%.1f %%", 100 * part / whole); }

// Pads on the left, counting characters: the plus-minus sign is two bytes.
std::string right(const std::string& text, size_t width) {
  const auto characters = static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }));
  return std::string(characters < width ? width - characters : 0, ' ') + text;
}

template <typename Row>
void keep_first(std::vector<Row>& rows, size_t count) {
  if (count != 0 && rows.size() > count) rows.resize(count);
}

std::vector<FunctionTotal> top_functions(const StackProfile& profile, const View& view) {
  std::vector<FunctionTotal> functions = by_function(profile);
  const auto nothing = [&](const FunctionTotal& function) { return in_view(function.cumulative, view).value == 0; };
  functions.erase(std::remove_if(functions.begin(), functions.end(), nothing), functions.end());
  std::stable_sort(functions.begin(), functions.end(), [&](const FunctionTotal& a, const FunctionTotal& b) {
    const double flat_a = in_view(a.flat, view).value, flat_b = in_view(b.flat, view).value;
    return flat_a != flat_b ? flat_a > flat_b : in_view(a.cumulative, view).value > in_view(b.cumulative, view).value;
  });
  return functions;
}

// Of a table cut to `rows`, half are of what grew and half of what shrank, if there is that much of both.
std::vector<NamedStack> top_changes(const StackProfile& difference, const View& view, size_t rows) {
  std::vector<NamedStack> stacks = by_names(difference);
  const auto value = [&](const NamedStack& stack) { return in_view(stack.amounts, view).value; };
  stacks.erase(std::remove_if(stacks.begin(), stacks.end(), [&](const auto& stack) { return value(stack) == 0; }),
               stacks.end());
  std::stable_sort(stacks.begin(), stacks.end(), [&](const auto& a, const auto& b) { return value(a) > value(b); });
  if (rows == 0 || stacks.size() <= rows) return stacks;
  const auto grown = static_cast<size_t>(
      std::count_if(stacks.begin(), stacks.end(), [&](const auto& stack) { return value(stack) > 0; }));
  const size_t shrunk = stacks.size() - grown;
  const size_t of_shrunk = std::min(shrunk, std::max(rows / 2, rows - std::min(rows, grown)));
  stacks.erase(stacks.begin() + static_cast<ptrdiff_t>(rows - of_shrunk),
               stacks.end() - static_cast<ptrdiff_t>(of_shrunk));
  return stacks;
}

Json json_of(const Estimate& estimate) { return {{"value", estimate.value}, {"error", estimate.error()}}; }

Json header_json(const StackProfile& profile, const View& view) {
  return {
      {"pid", profile.pid},
      {"executable", profile.executable},
      {"taken", static_cast<double>(profile.taken_ms) / 1000},
      {"started", static_cast<double>(profile.started_ms) / 1000},
      {"period", profile.period},
      {"dropped", profile.dropped},
      {"weight", name_of(view.weight)},
      {"unit", view.unit == Unit::bytes ? "bytes" : "objects"},
      {"total", json_of(in_view(total(profile), view))},
      {"notes", profile.notes},
  };
}

// Names come from other people's files and need not be UTF-8.
std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

std::string heading(const StackProfile& profile, const View& view) {
  static constexpr const char* kMeaning[kWeights] = {"in use", "allocated since the profile began",
                                                     "in use at the peak", "freed again at once"};
  std::string text = "process " + std::to_string(profile.pid) + " (" + printable(profile.executable) + "), " +
                     (view.unit == Unit::bytes ? "bytes " : "objects ") + kMeaning[static_cast<size_t>(view.weight)];
  text += profile.period <= 1 ? ", every allocation counted"
                              : ", one sample in " + human_amount(static_cast<double>(profile.period), Unit::bytes);
  if (profile.dropped != 0) text += ", " + std::to_string(profile.dropped) + " samples dropped";
  return text + "\n";
}

}  // namespace

std::string human_amount(double amount, Unit unit) {
  if (unit == Unit::objects) return format("%.0f", amount);
  constexpr double kMost = 1.8e19;  // what bytes_text takes
  const auto bytes = static_cast<uint64_t>(std::fmin(std::fabs(amount) + 0.5, kMost));
  return (amount < 0 && bytes != 0 ? "-" : "") + bytes_text(bytes);
}

std::string human_estimate(const Estimate& estimate, Unit unit) {
  const std::string text = human_amount(estimate.value, unit);
  if (estimate.variance == 0) return text;
  return text + " ± " + human_amount(estimate.error(), unit);
}

std::string collapsed_text(const StackProfile& profile, const View& view) {
  std::map<std::string, double> lines;
  for (const NamedStack& stack : by_names(profile)) {
    std::string line;
    for (const std::string& function : stack.functions) line += (line.empty() ? "" : ";") + one_word(function);
    lines[line] += in_view(stack.amounts, view).value;
  }
  std::string text;
  for (const auto& [line, value] : lines) {
    const std::string amount = format("%.0f", value);
    if (amount != "0" && amount != "-0") text += line + " " + amount + "\n";
  }
  return text;
}

std::string speedscope_text(const StackProfile& profile) {
  Json frames = Json::array();
  for (const Function& function : profile.functions) {
    Json frame = {{"name", function.name}};
    if (!function.source.empty()) frame["file"] = function.source;
    if (function.start_line != 0) frame["line"] = function.start_line;
    frames.push_back(std::move(frame));
  }
  Json profiles = Json::array();
  for (Unit unit : {Unit::bytes, Unit::objects}) {
    for (Weight weight : kAllWeights) {
      Json samples = Json::array(), weights = Json::array();
      double sum = 0;
      for (const Stack& stack : profile.stacks) {
        const double value = stack.amounts[weight].in(unit).value;
        if (value <= 0) continue;
        samples.push_back(functions_of(profile, stack));
        weights.push_back(value);
        sum += value;
      }
      profiles.push_back({{"type", "sampled"},
                          {"name", std::string(name_of(weight)) + (unit == Unit::bytes ? " space" : " objects")},
                          {"unit", unit == Unit::bytes ? "bytes" : "none"},
                          {"startValue", 0},
                          {"endValue", sum},
                          {"samples", std::move(samples)},
                          {"weights", std::move(weights)}});
    }
  }
  const Json file = {{"$schema", "https://www.speedscope.app/file-format-schema.json"},
                     {"shared", {{"frames", std::move(frames)}}},
                     {"profiles", std::move(profiles)},
                     {"name", profile.executable + " (" + std::to_string(profile.pid) + ")"},
                     {"activeProfileIndex", 0},
                     {"exporter", "poolmalloc"}};
  return file.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string top_text(const StackProfile& profile, const View& view, size_t rows) {
  const Estimate whole = in_view(total(profile), view);
  std::string text = heading(profile, view) + "total " + human_estimate(whole, view.unit) + "\n\n" + right("flat", 24) +
                     right("share", 8) + right("cumulative", 26) + right("share", 8) + "  function\n";
  std::vector<FunctionTotal> functions = top_functions(profile, view);
  const size_t all = functions.size();
  keep_first(functions, rows);
  for (const FunctionTotal& function : functions) {
    const Estimate flat = in_view(function.flat, view), cumulative = in_view(function.cumulative, view);
    text += right(human_estimate(flat, view.unit), 24) + right(share(flat.value, whole.value), 8) +
            right(human_estimate(cumulative, view.unit), 26) + right(share(cumulative.value, whole.value), 8) + "  " +
            printable(function.name) + "\n";
  }
  if (all > functions.size()) text += "and " + std::to_string(all - functions.size()) + " more functions\n";
  return text;
}

std::string top_json(const StackProfile& profile, const View& view, size_t rows) {
  std::vector<FunctionTotal> functions = top_functions(profile, view);
  keep_first(functions, rows);
  Json json = header_json(profile, view);
  json["functions"] = Json::array();
  for (const FunctionTotal& function : functions) {
    json["functions"].push_back({{"name", function.name},
                                 {"flat", json_of(in_view(function.flat, view))},
                                 {"cumulative", json_of(in_view(function.cumulative, view))}});
  }
  return dump(json);
}

std::string diff_text(const StackProfile& difference, const View& view, size_t rows) {
  std::string text =
      heading(difference, view) + "change " + human_estimate(in_view(total(difference), view), view.unit) + "\n";
  for (const NamedStack& stack : top_changes(difference, view, rows)) {
    const Estimate change = in_view(stack.amounts, view);
    text += "\n" + std::string(change.value > 0 ? "+" : "") + human_estimate(change, view.unit) + "\n";
    for (auto function = stack.functions.rbegin(); function != stack.functions.rend(); ++function) {
      text += "    " + printable(*function) + "\n";
    }
  }
  return text;
}

std::string diff_json(const StackProfile& difference, const View& view, size_t rows) {
  Json json = header_json(difference, view);
  json["stacks"] = Json::array();
  for (const NamedStack& stack : top_changes(difference, view, rows)) {
    json["stacks"].push_back({{"functions", stack.functions}, {"change", json_of(in_view(stack.amounts, view))}});
  }
  return dump(json);
}

}  // namespace pm
