#include "preload/launcher/profile_commands.h"

#include <unistd.h>

#include <cstdio>
#include <map>

#include "preload/launcher/leaks.h"
#include "preload/launcher/output_file.h"
#include "preload/launcher/profile_pprof.h"
#include "preload/launcher/profile_source.h"
#include "preload/launcher/profile_stacks.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

constexpr int kFailed = 1;
constexpr int kUsageError = 2;

int usage_error(const std::string& line) {
  std::fprintf(stderr, "poolmalloc: %s\n", line.c_str());
  return kUsageError;
}

const std::map<std::string, uint64_t> kDurationUnits = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};

bool load(const std::string& source, StackProfile& stacks) {
  std::string raw;
  HeapProfile profile;
  if (!load_profile(source, raw, profile)) return false;
  stacks = resolve(profile);
  return true;
}

void print_notes(const StackProfile& profile) {
  for (const std::string& note : profile.notes) std::fprintf(stderr, "poolmalloc: %s\n", printable(note).c_str());
}

}  // namespace

ProfileCommands::ProfileCommands(CLI::App& app) {
  prof_ = app.add_subcommand("prof", "Heap profiles: which code holds the memory, and which code allocates");
  prof_->require_subcommand(1);
  prof_->footer(
      "A PROFILE is a file that poolmalloc prof dump --format raw or the library wrote, - for stdin, or the number of\n"
      "a process that is asked for one. Amounts are estimated from samples, ± their standard error.\n"
      "Exit codes: 0; 1 if it could not be done; 2 for a request that makes no sense.");

  start_ = add("start", "Begin to sample the allocations of a process");
  start_->add_option("pid", pid_, "The process")->required()->type_name("PID")->check(CLI::Range(1, INT32_MAX));
  start_
      ->add_option("--rate", rate_, "Mean bytes between samples, such as 64k; 1 takes every allocation; otherwise 512k")
      ->type_name("BYTES")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::PositiveNumber);

  stop_ = add("stop", "End sampling; what was counted can still be dumped");
  stop_->add_option("pid", pid_, "The process")->required()->type_name("PID")->check(CLI::Range(1, INT32_MAX));

  dump_ = add("dump", "Write what a process's profile has counted so far");
  dump_->add_option("pid", source_, "The process")->required()->type_name("PID");
  add_output(dump_, false);
  add_view(dump_);

  convert_ = add("convert", "Write a raw profile in another format");
  convert_->add_option("profile", source_, "The profile")->required()->type_name("PROFILE");
  add_output(convert_, false);
  add_view(convert_);

  top_ = add("top", "Show the functions that allocate most");
  top_->add_option("profile", source_, "The profile")->required()->type_name("PROFILE");
  add_table(top_);
  add_view(top_);

  diff_ = add("diff", "Show by stack what grew and what shrank from one profile to another");
  diff_->add_option("before", source_, "The earlier profile")->required()->type_name("BEFORE");
  diff_->add_option("after", second_source_, "The later profile")->required()->type_name("AFTER");
  add_output(diff_, true);
  add_table(diff_);
  add_view(diff_);

  leaks_ = app.add_subcommand("leaks", "Show the call stacks whose memory has been in use for long");
  leaks_->add_option("profile", source_, "A process with a profile, or a profile in a file")
      ->required()
      ->type_name("PID|PROFILE");
  leaks_
      ->add_option("--older-than", older_than_s_,
                   "How long, such as 10s, 5m, 2h. Ages are told apart in steps: 1s, 10s, 1m, 5m, 30m, 2h, 12h")
      ->type_name("TIME")
      ->capture_default_str()
      ->transform(CLI::AsNumberWithUnit(kDurationUnits, CLI::AsNumberWithUnit::CASE_INSENSITIVE));
  leaks_->add_option("--watch", watch_s_, "Look twice, so far apart: stacks that grew come first")
      ->type_name("TIME")
      ->transform(CLI::AsNumberWithUnit(kDurationUnits, CLI::AsNumberWithUnit::CASE_INSENSITIVE))
      ->check(CLI::Range(uint64_t{1}, uint64_t{86400}));
  add_table(leaks_);
  leaks_->footer(
      "The process needs a profile: start one with poolmalloc prof start PID, or at its start with\n"
      "POOLMALLOC_PROFILE=512k. What it allocated before is not in the profile.\n"
      "Exit codes: 0, whether or not something is found; 1 if it could not be done; 2 for a request that makes no "
      "sense.");
}

CLI::App* ProfileCommands::add(const char* name, const char* text) { return prof_->add_subcommand(name, text); }

void ProfileCommands::add_view(CLI::App* command) {
  static const std::map<std::string, Weight> kByName = {
      {"inuse", Weight::inuse}, {"alloc", Weight::alloc}, {"peak", Weight::peak}, {"temporary", Weight::temporary}};
  static const std::map<std::string, Unit> kUnits = {{"bytes", Unit::bytes}, {"objects", Unit::objects}};
  command
      ->add_option(
          "--weight", view_.weight,
          "For text and collapsed: inuse, alloc, peak or temporary. Otherwise inuse; pprof and speedscope have all")
      ->type_name("WEIGHT")
      ->transform(CLI::CheckedTransformer(kByName).description("{inuse,alloc,peak,temporary}"));
  command->add_option("--unit", view_.unit, "bytes or objects")
      ->type_name("UNIT")
      ->transform(CLI::CheckedTransformer(kUnits).description("{bytes,objects}"));
}

void ProfileCommands::add_output(CLI::App* command, bool of_difference) {
  static const std::map<std::string, Format> kFormats = {{"pprof", Format::pprof},
                                                         {"collapsed", Format::collapsed},
                                                         {"speedscope", Format::speedscope},
                                                         {"raw", Format::raw}};
  static const std::map<std::string, Format> kDiffFormats = {
      {"text", Format::text}, {"json", Format::json}, {"pprof", Format::pprof}, {"collapsed", Format::collapsed}};
  command->add_option("-o,--output", output_, "The file to write, instead of stdout")->type_name("FILE");
  if (of_difference) {
    command->add_option("--format", diff_format_, "text, json, pprof or collapsed; otherwise text")
        ->type_name("FORMAT")
        ->transform(CLI::CheckedTransformer(kDiffFormats).description("{text,json,pprof,collapsed}"));
  } else {
    command->add_option("--format", format_, "pprof, collapsed, speedscope or raw; otherwise pprof")
        ->type_name("FORMAT")
        ->transform(CLI::CheckedTransformer(kFormats).description("{pprof,collapsed,speedscope,raw}"));
  }
}

void ProfileCommands::add_table(CLI::App* command) {
  command->add_option("--rows", rows_, "How many rows at most; 0 for all")->type_name("N")->capture_default_str();
  command->add_flag("--json", json_, "Print JSON");
}

std::optional<int> ProfileCommands::run() const {
  if (leaks_->parsed()) return leaks();
  if (start_->parsed()) return start_profile(pid_, rate_) ? 0 : kFailed;
  if (stop_->parsed()) return stop_profile(pid_) ? 0 : kFailed;
  if (top_->parsed()) return top();
  if (diff_->parsed()) return diff();
  if (dump_->parsed() || convert_->parsed()) return convert();
  return {};
}

// Also dumps, which is to convert what a process gives.
int ProfileCommands::convert() const {
  if (dump_->parsed() && !process_meant(source_)) return usage_error(source_ + " is not the number of a process");
  if (format_ == Format::pprof && output_.empty() && isatty(STDOUT_FILENO) == 1) {
    return usage_error("the pprof format is not for a terminal: name a file with -o, or another --format");
  }
  std::string raw;
  HeapProfile profile;
  if (!load_profile(source_, raw, profile)) return kFailed;
  if (format_ == Format::raw) return write_output(output_, raw) ? 0 : kFailed;
  const StackProfile stacks = resolve(profile);
  print_notes(stacks);
  const std::string text = format_ == Format::pprof       ? pprof_file(stacks)
                           : format_ == Format::collapsed ? collapsed_text(stacks, view_)
                                                          : speedscope_text(stacks);
  return write_output(output_, text) ? 0 : kFailed;
}

int ProfileCommands::top() const {
  StackProfile stacks;
  if (!load(source_, stacks)) return kFailed;
  print_notes(stacks);
  return write_output({}, json_ ? top_json(stacks, view_, rows_) : top_text(stacks, view_, rows_)) ? 0 : kFailed;
}

int ProfileCommands::diff() const {
  const Format format = json_ ? Format::json : diff_format_;
  if (format == Format::pprof && output_.empty() && isatty(STDOUT_FILENO) == 1) {
    return usage_error("the pprof format is not for a terminal: name a file with -o, or another --format");
  }
  StackProfile before, after;
  if (!load(source_, before) || !load(second_source_, after)) return kFailed;
  const StackProfile change = difference(before, after);
  print_notes(change);
  const std::string text = format == Format::pprof       ? pprof_file(change)
                           : format == Format::collapsed ? collapsed_text(change, view_)
                           : format == Format::json      ? diff_json(change, view_, rows_)
                                                         : diff_text(change, view_, rows_);
  return write_output(output_, text) ? 0 : kFailed;
}

int ProfileCommands::leaks() const {
  const auto step = age_step(older_than_s_);
  if (!step) return usage_error("ages are told apart up to 12h: --older-than cannot be longer");
  if (watch_s_ != 0 && !process_meant(source_))
    return usage_error("only a process can be watched, and " + source_ + " is none");
  StackProfile earlier, stacks;
  if (watch_s_ != 0) {
    if (!load(source_, earlier)) return kFailed;
    for (unsigned left = static_cast<unsigned>(watch_s_); left != 0;) left = sleep(left);
  }
  if (!load(source_, stacks)) return kFailed;
  print_notes(stacks);
  const LeakReport report = find_leaks(stacks, *step, watch_s_ != 0 ? &earlier : nullptr);
  const int64_t seconds = (stacks.taken_ms - stacks.started_ms) / 1000;
  if (seconds < static_cast<int64_t>(report.older_than_s)) {
    std::fprintf(stderr, "poolmalloc: the profile is only %lld s old, so nothing in it can be older\n",
                 static_cast<long long>(seconds));
  }
  return write_output({}, json_ ? leaks_json(report, stacks, rows_) : leaks_text(report, stacks, rows_)) ? 0 : kFailed;
}

}  // namespace pm
