#include "preload/launcher/report.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "preload/launcher/comparison.h"
#include "preload/launcher/flame.h"
#include "preload/launcher/output_file.h"
#include "preload/launcher/profile_source.h"
#include "preload/launcher/report_data.h"
#include "preload/launcher/report_page.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFailed = 1;
constexpr int kUsageError = 2;
constexpr uint64_t kLeastEveryMs = 100;  // no process writes its page more often
constexpr uint64_t kMostMs = 30ULL * 24 * 3600 * 1000;

bool fail(const std::string& line) {
  std::fprintf(stderr, "poolmalloc: %s\n", printable(line).c_str());
  return false;
}

int usage_error(const std::string& line) {
  fail(line);
  return kUsageError;
}

// Puts the number of milliseconds in the place of the text; what it says otherwise is CLI11's message.
std::function<std::string(std::string&)> duration_from(uint64_t least_ms) {
  return [least_ms](std::string& text) {
    const std::optional<uint64_t> ms = parse_duration_ms(text);
    if (!ms) return text + " is not a time such as 30s, 10m or 500ms";
    if (*ms < least_ms || *ms > kMostMs) return text + " is not between " + std::to_string(least_ms) + "ms and 30d";
    text = std::to_string(*ms);
    return std::string();
  };
}

bool load_recording(const std::string& path, Recording& recording) {
  std::string text;
  std::string error;
  if (!read_input(path, text)) return false;
  return parse_recording(text, recording, error) ? true : fail(path + " " + error);
}

bool add_profile(const std::string& source, Json& data) {
  std::string raw;
  HeapProfile profile;
  if (!load_profile(source, raw, profile)) return false;
  const StackProfile stacks = resolve(profile);
  for (const std::string& note : stacks.notes) fail(note);
  data["profile"] = flame_json(stacks);
  return true;
}

bool add_comparison(const std::string& path, Json& data) {
  std::string text;
  std::string error;
  if (!read_input(path, text)) return false;
  return read_comparison(text, data["comparison"], error) ? true : fail(path + " " + error);
}

}  // namespace

std::optional<uint64_t> parse_duration_ms(const std::string& text) {
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc()) return {};
  const std::string unit(end, text.data() + text.size());
  constexpr std::pair<const char*, uint64_t> kUnits[] = {
      {"ms", 1}, {"", 1000}, {"s", 1000}, {"m", 60'000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
  for (const auto& [name, ms] : kUnits) {
    if (unit != name) continue;
    if (count > UINT64_MAX / ms) return {};
    return count * ms;
  }
  return {};
}

ReportCommands::ReportCommands(CLI::App& app, std::string version) : version_(std::move(version)) {
  const auto add_pid = [this](CLI::App* command) {
    command->add_option("pid", pid_, "The process; without it, the only one that runs on poolmalloc")
        ->type_name("PID")
        ->check(CLI::Range(1, INT32_MAX));
  };
  record_ = app.add_subcommand("record", "Keep what a process publishes of itself over a while, in a file for report");
  add_pid(record_);
  add_times(record_);
  record_->add_option("-o,--output", output_, "The recording; otherwise stdout")->type_name("FILE");

  report_ = app.add_subcommand(
      "report", "Watch a process for a while and write one page of HTML about it, which opens without a network");
  add_pid(report_);
  add_times(report_);
  report_->add_option("--from", recording_, "Do not watch a process, read what poolmalloc record wrote; - is stdin")
      ->type_name("RECORDING");
  report_->add_option("-o,--output", output_, "The page; otherwise poolmalloc-PID.html; - is stdout")
      ->type_name("FILE");
  report_
      ->add_option(
          "--profile", profile_,
          "With a flame graph of this heap profile: a file of prof dump --format raw, or a process that has one")
      ->type_name("PROFILE");
  report_->add_option("--compare", comparison_, "With the results of scripts/bench --json")->type_name("RESULTS.json");
  report_->add_flag("--json", json_, "The data of the page alone, as one JSON object on stdout or in -o FILE");
  for (CLI::App* command : {record_, report_}) {
    command->footer(
        "Ctrl-C ends the watching early; what was seen until then is written all the same, as it is when the process\n"
        "ends. Exit codes: 0; 1 if it could not be done; 2 for a request that makes no sense.");
  }
}

void ReportCommands::add_times(CLI::App* command) {
  command->add_option("--for", request_.for_ms, "How long to watch, such as 30s, 10m, 2h; otherwise 30s")
      ->type_name("TIME")
      ->transform(CLI::Validator(duration_from(kLeastEveryMs), ""));
  command
      ->add_option("--every", request_.every_ms,
                   "Between two looks, at least 100ms; otherwise 500ms. Long recordings keep fewer: 3600 at most")
      ->type_name("TIME")
      ->transform(CLI::Validator(duration_from(kLeastEveryMs), ""));
}

std::optional<int> ReportCommands::run() const {
  if (record_->parsed()) return write_record();
  if (report_->parsed()) return write_report();
  return {};
}

bool ReportCommands::watch(Recording& recording) const {
  const std::optional<Target> target = choose_target(pid_);
  return target && record(*target, request_, recording);
}

int ReportCommands::write_record() const {
  Recording recording;
  if (!watch(recording)) return kFailed;
  return write_output(output_, write_recording(recording, version_)) ? 0 : kFailed;
}

int ReportCommands::write_report() const {
  if (!recording_.empty() && pid_) return usage_error("report takes a process or --from, not both");
  // What was asked for besides must be there before a recording of ten minutes begins; a process's profile is of the
  // end.
  Json extras = Json::object();
  const bool profile_is_file = !profile_.empty() && !process_meant(profile_);
  if (profile_is_file && !add_profile(profile_, extras)) return kFailed;
  if (!comparison_.empty() && !add_comparison(comparison_, extras)) return kFailed;

  Recording recording;
  if (!(recording_.empty() ? watch(recording) : load_recording(recording_, recording))) return kFailed;
  if (!profile_.empty() && !profile_is_file && !add_profile(profile_, extras)) return kFailed;

  Json data = report_json(recording);
  data.update(extras);
  if (json_) {
    return write_output(output_, data.dump(2, ' ', false, Json::error_handler_t::replace) + "\n") ? 0 : kFailed;
  }
  const std::string path =
      output_.empty() ? "poolmalloc-" + std::to_string(recording.about.at("pid").get<uint64_t>()) + ".html" : output_;
  if (!write_output(path, report_page(data))) return kFailed;
  if (path != "-") std::fprintf(stderr, "poolmalloc: the report is in %s\n", printable(path).c_str());
  return 0;
}

}  // namespace pm
