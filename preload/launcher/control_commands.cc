#include "preload/launcher/control_commands.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cctype>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "preload/launcher/control_client.h"
#include "preload/launcher/output_file.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

constexpr unsigned kTrimSeconds = 600;

int complain(const std::string& line) {
  std::fprintf(stderr, "poolmalloc: %s\n", line.c_str());
  return 1;
}

int print(const Json& json) { return print_output(json.dump() + "\n"); }

uint64_t resident_bytes(pid_t pid) {
  std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
  uint64_t all = 0;
  uint64_t resident = 0;
  statm >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// A row of the reply to get and options.
struct Row {
  std::string name;
  bool is_default;
  bool is_live;
  std::string value;
};

std::vector<Row> rows_of(const std::string& lines) {
  std::vector<Row> rows;
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    Row row;
    std::string state;
    std::string when;
    if (!(words >> row.name >> state >> when)) continue;
    words.get();  // the space before the value, which may be empty
    std::getline(words, row.value);
    row.is_default = state == "default";
    row.is_live = when == "live";
    rows.push_back(row);
  }
  return rows;
}

Json to_json(const Row& row) { return {{"value", row.value}, {"default", row.is_default}, {"live", row.is_live}}; }

std::string padded(const std::string& text, size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

// "64m" as a number of bytes, in place. Otherwise what is wrong with it.
std::string in_bytes(std::string& text) {
  const size_t digits = text.find_first_not_of("0123456789");
  const size_t length = digits == std::string::npos ? text.size() : digits;
  constexpr std::string_view kSuffixes = " kmgt";
  const char suffix = length == text.size() ? ' ' : static_cast<char>(std::tolower(text[length]));
  const size_t power = kSuffixes.find(suffix);
  // Of up to six digits no suffix makes more than 64 bits.
  const bool fits = length != 0 && length <= (power == 0 ? 18 : 6) && length + 1 >= text.size();
  if (!fits || power == std::string_view::npos || text.back() == ' ') {
    return text + " is not a size (a number with an optional k, m, g or t)";
  }
  text = std::to_string(std::stoull(text) << (10 * power));
  return {};
}

}  // namespace

int trim_process(pid_t pid, std::optional<uint64_t> bytes, bool as_json) {
  const uint64_t before = resident_bytes(pid);
  const ControlReply reply = ask(pid, bytes ? "trim " + std::to_string(*bytes) : "trim", -1, kTrimSeconds);
  if (!reply.ok) return complain(reply.text);
  const uint64_t after = resident_bytes(pid);
  const uint64_t given = std::strtoull(reply.text.c_str(), nullptr, 10);
  if (as_json) {
    return print(Json{
        {"pid", pid}, {"released_bytes", given}, {"resident_before_bytes", before}, {"resident_after_bytes", after}});
  }
  return print_output("gave back " + bytes_text(given) + "; resident " + bytes_text(after) + ", before " +
                      bytes_text(before) + "\n");
}

int set_options_of(pid_t pid, const std::vector<std::string>& settings, bool as_json) {
  Json done = Json::object();
  std::string text;
  for (const std::string& setting : settings) {
    const ControlReply reply = ask(pid, "set " + setting);
    if (!reply.ok) {
      print_output(text);
      return complain(reply.text);
    }
    for (const Row& row : rows_of(reply.lines)) {
      done[row.name] = row.value;
      if (!as_json) text += row.name + "=" + row.value + "\n";
    }
  }
  return as_json ? print(Json{{"pid", pid}, {"set", done}}) : print_output(text);
}

int print_options_of(pid_t pid, const std::string& name, bool as_json) {
  const ControlReply reply = ask(pid, name.empty() ? "options" : "get " + name);
  if (!reply.ok) return complain(reply.text);
  const std::vector<Row> rows = rows_of(reply.lines);
  if (as_json) {
    Json all = Json::object();
    for (const Row& row : rows) all[row.name] = to_json(row);
    return print(Json{{"pid", pid}, {"options", all}});
  }
  if (!name.empty())
    return rows.size() == 1 ? print_output(rows[0].value + "\n") : complain("an answer without a value");
  std::string text;
  for (const Row& row : rows) {
    text += padded(row.name + "=" + row.value, 42) + (row.is_default ? "default" : "changed") +
            (row.is_live ? ", can be set\n" : "\n");
  }
  return print_output(text);
}

ControlCommands::ControlCommands(CLI::App& app) {
  constexpr char kExit[] = "Exit codes: 0; 1 if the process cannot be asked or refuses, with one line on stderr; 2.";
  trim_ = app.add_subcommand("trim", "Have a running process give its free memory back to the system");
  set_ = app.add_subcommand("set", "Change options of a running process");
  get_ = app.add_subcommand("get", "Show the options of a running process, or the value of one");
  for (CLI::App* command : {trim_, set_, get_}) {
    command->add_option("pid", pid_, "The process")->required()->check(CLI::Range(1, INT32_MAX))->type_name("PID");
    command->add_flag("--json", json_, "Print JSON");
    command->footer(kExit);
  }
  trim_->add_option("bytes", bytes_, "How much to give back at least, such as 64m; all of it if not given")
      ->transform(CLI::Validator(in_bytes, "", "size"))
      ->type_name("BYTES");
  set_->add_option("settings", settings_, "Options with their values; poolmalloc options tells which can be changed")
      ->required()
      ->type_name("name=value");
  get_->add_option("name", name_, "The option")->type_name("NAME");
}

std::optional<int> ControlCommands::run() const {
  if (trim_->parsed()) return trim_process(pid_, bytes_, json_);
  if (get_->parsed()) return print_options_of(pid_, name_, json_);
  if (!set_->parsed()) return {};
  for (const std::string& setting : settings_) {
    if (setting.find('=') != std::string::npos) continue;
    complain(setting + " is not name=value");
    return 2;
  }
  return set_options_of(pid_, settings_, json_);
}

}  // namespace pm
