// The poolmalloc command: runs programs on the library, shows what it does in those that run, and changes that. Each
// group of subcommands is a class of its own, which adds them to the command line and knows what was asked for.
#include <CLI/CLI.hpp>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>

#include "poolmalloc/poolmalloc.h"
#include "preload/launcher/control_commands.h"
#include "preload/launcher/look_commands.h"
#include "preload/launcher/output_file.h"
#include "preload/launcher/profile_commands.h"
#include "preload/launcher/reference_commands.h"
#include "preload/launcher/report.h"
#include "preload/launcher/run_command.h"
#include "preload/launcher/serve_commands.h"
#include "preload/launcher/simulate_command.h"

namespace {

constexpr int kUsageError = 2;
constexpr char kExitCodes[] =
    "Exit codes: of run, the program's own, 128 + n if signal n ended it, 127 if there is no such program,\n"
    "126 if it cannot be executed; of doctor, 3 if it found a problem; otherwise 0, 1 if it could not be done,\n"
    "with a line that says why, or 2 for a request that makes no sense.\n";

std::string version() {
  return std::to_string(PM_VERSION_MAJOR) + "." + std::to_string(PM_VERSION_MINOR) + "." +
         std::to_string(PM_VERSION_PATCH);
}

// The exit code of the first group that was asked for something.
template <typename... Groups>
int first_of(const Groups&... groups) {
  std::optional<int> code;
  static_cast<void>(((code = groups.run()) || ...));
  return code.value_or(kUsageError);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Runs unmodified programs on the poolmalloc allocator.", "poolmalloc");
  app.set_version_flag("--version", "poolmalloc " + version(), "Print the version");
  app.require_subcommand(1);
  app.footer(std::string("The library's options, variables of the environment: poolmalloc options\n\n") + kExitCodes);

  // Parsing writes to their members, so none of them is const.
  pm::RunCommand run(app, kExitCodes);
  pm::LookCommands look(app);
  pm::ControlCommands control(app);
  pm::ProfileCommands profile(app);
  pm::ReportCommands report(app, version());
  pm::ServeCommands serve(app);
  pm::SimulateCommand simulate(app);
  pm::ReferenceCommands reference(app, "poolmalloc " + version(), kExitCodes);

  try {
    app.parse(run.take_program(argc, argv), argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;  // of --help and --version
    return app.exit(error, out, std::cerr) == 0 ? pm::print_output(out.str()) : kUsageError;
  }
  return first_of(run, look, control, profile, report, serve, simulate, reference);
}
