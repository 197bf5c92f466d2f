#include "preload/launcher/run_command.h"

#include <CLI/CLI.hpp>
#include <cstdio>

namespace pm {
namespace {

constexpr int kUsageError = 2;

// How many of the arguments are ours: of run, those before the "--" or the first word that is neither an option nor an
// option's value. The rest is the program's, whatever it looks like.
int count_own_arguments(int argc, char** argv, const CLI::App& run) {
  if (argc < 2 || std::string(argv[1]) != run.get_name()) return argc;
  int own = 2;
  while (own < argc && argv[own][0] == '-' && std::string(argv[own]) != "--") {
    const CLI::Option* option = run.get_option_no_throw(argv[own]);
    own += option != nullptr && option->get_expected_max() > 0 ? 2 : 1;
  }
  return own < argc ? own : argc;
}

}  // namespace

RunCommand::RunCommand(CLI::App& app, const std::string& exit_codes) {
  run_ = app.add_subcommand(
      "run", "Run a program with the library preloaded: poolmalloc run [OPTIONS] [--] program [arguments]");
  run_->add_flag("--stats", statistics_, "Print the statistics at exit, as text or by --stats=text|json|openmetrics");
  run_->add_option("--set", request_.settings, "Set an option of the library; may be given several times")
      ->type_name("name=value")
      ->expected(1)
      ->take_all();
  run_->add_option("--preset", preset_, "Set several options at once: server, lean, latency or debug")
      ->type_name("NAME");
  run_->add_option("--library", request_.library, "The library to preload, if not the one beside this command")
      ->type_name("PATH");
  run_->add_flag("--quiet", request_.quiet, "Say nothing about the library being active");
  run_->footer("poolmalloc options lists what --set takes.\n\n" + exit_codes);
}

int RunCommand::take_program(int argc, char** argv) {
  const int own = count_own_arguments(argc, argv, *run_);
  request_.command.assign(argv + own, argv + argc);
  if (!request_.command.empty() && request_.command[0] == "--") request_.command.erase(request_.command.begin());
  return own;
}

std::optional<int> RunCommand::run() const {
  if (!run_->parsed()) return {};
  RunRequest request = request_;
  if (request.command.empty()) {
    std::fprintf(stderr, "poolmalloc: run needs a program to run; see poolmalloc run --help\n");
    return kUsageError;
  }
  // The preset comes first, so that --set wins whatever the order of the words.
  const std::string statistics = statistics_ == "true" ? "1" : statistics_;  // how CLI11 writes a flag without a value
  if (!statistics.empty()) request.settings.insert(request.settings.begin(), "stats=" + statistics);
  if (!preset_.empty()) request.settings.insert(request.settings.begin(), "preset=" + preset_);
  return pm::run(request);
}

}  // namespace pm
