// The poolmalloc command: runs programs on the library, and prints what it can be told and what it tells.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "poolmalloc/poolmalloc.h"
#include "preload/launcher/advise.h"
#include "preload/launcher/control_commands.h"
#include "preload/launcher/doctor.h"
#include "preload/launcher/manual.h"
#include "preload/launcher/profile_commands.h"
#include "preload/launcher/reference.h"
#include "preload/launcher/run.h"
#include "preload/launcher/serve_commands.h"
#include "preload/launcher/simulate.h"
#include "preload/launcher/status.h"
#include "preload/launcher/top.h"
#include "preload/launcher/topology.h"

namespace {

constexpr int kUsageError = 2;
constexpr char kExitCodes[] =
    "Exit codes: of run, the program's own, 128 + n if signal n ended it, 127 if there is no such program,\n"
    "126 if it cannot be executed; of doctor, 3 if it found a problem; otherwise 0, 1 if it could not be done, with a "
    "line that says why, or 2 for a "
    "request\n"
    "that makes no sense.\n";

std::string version() {
  return "poolmalloc " + std::to_string(PM_VERSION_MAJOR) + "." + std::to_string(PM_VERSION_MINOR) + "." +
         std::to_string(PM_VERSION_PATCH);
}

int print(const std::string& text) {
  return std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0 ? 0 : kUsageError;
}

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

int main(int argc, char** argv) {
  CLI::App app("Runs unmodified programs on the poolmalloc allocator.", "poolmalloc");
  app.set_version_flag("--version", version(), "Print the version");
  app.require_subcommand(1);
  app.footer([] { return pm::options_as_text() + "\n" + kExitCodes; });

  pm::RunRequest request;
  std::string statistics;
  std::string preset;
  CLI::App* run = app.add_subcommand(
      "run", "Run a program with the library preloaded: poolmalloc run [OPTIONS] [--] program [arguments]");
  run->add_flag("--stats", statistics, "Print the statistics at exit, as text or by --stats=text|json|openmetrics");
  run->add_option("--set", request.settings, "Set an option of the library; may be given several times")
      ->type_name("name=value")
      ->expected(1)
      ->take_all();
  run->add_option("--preset", preset, "Set several options at once: server, lean, latency or debug")->type_name("NAME");
  run->add_option("--library", request.library, "The library to preload, if not the one beside this command")
      ->type_name("PATH");
  run->add_flag("--quiet", request.quiet, "Say nothing about the library being active");
  run->footer("poolmalloc options lists what --set takes.\n\n" + std::string(kExitCodes));

  bool markdown = false;
  CLI::App* options = app.add_subcommand("options", "List the options of the library");
  options->add_flag("--markdown", markdown, "As the README's table");
  CLI::App* metrics = app.add_subcommand("metrics", "List the metrics in the statistics");
  metrics->add_flag("--markdown", markdown, "As the README's table");

  pm::SimulateRequest simulation;
  bool as_json = false;
  bool as_csv = false;
  CLI::App* simulate = app.add_subcommand(
      "simulate",
      "Play a curve of memory use through the library's plan, and compare its cost with other ways to decide");
  simulate->add_option("curve", simulation.curve_file, "CSV: time_s,used_bytes[,usage_bytes][,limit_bytes]")
      ->type_name("CURVE.csv");
  simulate->add_option("--family", simulation.family, "A curve made from a seed, such as square_20, saw_leak or bursts")
      ->type_name("NAME");
  simulate->add_option("--seed", simulation.seed, "Of the family's curve; with --all, of the first")->type_name("N");
  simulate->add_option("--seeds", simulation.seeds, "With --all: how many curves of each family")
      ->type_name("N")
      ->check(CLI::Range(1u, 1000u));
  simulate->add_option("--seconds", simulation.seconds, "Length of a family's curve")->type_name("S");
  simulate->add_option("--hertz", simulation.hertz, "Points of a family's curve in a second")->type_name("HZ");
  simulate->add_option("--backing", simulation.backing, "What lies under the heap: huge, small or host; otherwise each")
      ->type_name("NAME");
  simulate->add_flag("--all", simulation.all, "Every family and backing: a table of costs over the oracle's");
  simulate->add_option("--set", simulation.settings, "Set an option of the library; may be given several times")
      ->type_name("name=value")
      ->expected(1)
      ->take_all();
  simulate->add_flag("--json", as_json, "Print JSON");
  simulate->add_flag("--csv", as_csv, "Print CSV")->excludes("--json");
  simulate->add_option("--html", simulation.html_file, "Write a page with the curve, the forecast and the decisions")
      ->type_name("FILE");

  bool json = false;
  CLI::App* topology = app.add_subcommand(
      "topology", "Show the machine's memory nodes, as hwloc sees them, and what the library does with them");
  topology->add_flag("--json", json, "As one JSON object");
  topology->footer("HWLOC_SYNTHETIC and HWLOC_XMLFILE describe another machine than this one: see hwloc(7).");

  std::optional<pid_t> pid;
  const auto add_pid = [&pid](CLI::App* command) {
    command->add_option("pid", pid, "The process; without it, the only one that runs on poolmalloc")
        ->type_name("PID")
        ->check([](const std::string& text) {
          const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
          const bool fits = digits && text.size() <= 9 && text.find_first_not_of('0') != std::string::npos;
          return fits ? std::string() : text + " is not the number of a process";
        });
  };
  CLI::App* status =
      app.add_subcommand("status", "Say whether and how a process runs on poolmalloc, and what that did");
  add_pid(status);
  status->add_flag("--json", json, "As one JSON object");
  CLI::App* processes = app.add_subcommand("ps", "List the processes that run on poolmalloc");
  processes->add_flag("--json", json, "As a JSON array");
  std::string format = "text";
  CLI::App* stats = app.add_subcommand("stats", "Print the statistics of a process that runs");
  add_pid(stats);
  stats->add_option("--format", format, "text, json or openmetrics")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"text", "json", "openmetrics"}));

  pm::TopRequest view;
  bool once = false;
  CLI::App* top = app.add_subcommand("top", "Watch a process, or choose one from the list of those on poolmalloc");
  add_pid(top);
  top->add_option("-d,--delay", view.seconds, "Seconds between looks")->type_name("S")->check(CLI::Range(0.1, 3600.0));
  top->add_flag("--batch", view.batch, "Print frames instead of using the terminal");
  top->add_option("-n,--frames", view.frames, "With --batch: how many frames; otherwise without end")
      ->type_name("N")
      ->check(CLI::Range(1u, 1'000'000'000u));
  top->add_flag("--once", once, "The same as --batch -n 1");
  top->add_option("--pane", view.pane, "What the lower half begins with: classes, cpus, nodes or events")
      ->type_name("NAME")
      ->check(CLI::IsMember({"classes", "cpus", "nodes", "events"}));
  top->footer("Keys: q quit, p pause, s sort, Tab other rows, arrows and page keys move, b back to the list, h help.");

  CLI::App* doctor = app.add_subcommand(
      "doctor", "Say what about the machine, or about a process, keeps the library from doing well, and what to do");
  add_pid(doctor);
  doctor->get_option("pid")->description("The process; without it, the machine alone");
  doctor->add_flag("--json", json, "As one JSON object");
  CLI::App* advise = app.add_subcommand(
      "advise", "Recommend options for a process from what it did so far, as lines of an environment");
  add_pid(advise);
  advise->add_flag("--json", json, "As a JSON array");

  std::string shell;
  CLI::App* completion = app.add_subcommand("completion", "Print what makes a shell complete this command's words");
  completion->add_option("shell", shell)->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  CLI::App* manual = app.add_subcommand("manual", "Print the manual page of this command, as man -l reads it");
  const pm::ProfileCommands profile(app);

  pm::ControlCommands control(app);
  pm::ServeCommands service(app);

  try {
    const int own = count_own_arguments(argc, argv, *run);
    app.parse(own, argv);
    request.command.assign(argv + own, argv + argc);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageError;
  }

  if (const auto code = control.run()) return *code;
  if (const auto code = service.run()) return *code;
  if (options->parsed()) return print(markdown ? pm::options_as_markdown() : pm::options_as_text());
  if (const auto code = profile.run()) return *code;
  if (topology->parsed()) return pm::print_topology(json);
  if (status->parsed()) return pm::print_status(pid, json);
  if (processes->parsed()) return pm::print_processes(json);
  if (top->parsed()) {
    view.pid = pid;
    view.batch = view.batch || once;
    if (once) view.frames = 1;
    return pm::top(view);
  }
  if (stats->parsed()) return pm::print_statistics(pid, format);
  if (doctor->parsed()) return pm::print_examination(pid, json);
  if (advise->parsed()) return pm::print_advice(pid, json);
  if (completion->parsed()) return print(pm::completion_script(app, shell));
  if (manual->parsed()) return print(pm::manual_page(app, version(), kExitCodes));
  if (metrics->parsed()) return print(markdown ? pm::metrics_as_markdown() : pm::metrics_as_text());

  if (simulate->parsed()) {
    simulation.format = as_json  ? pm::SimulateFormat::json
                        : as_csv ? pm::SimulateFormat::csv
                                 : pm::SimulateFormat::text;
    return pm::simulate(simulation);
  }

  if (!request.command.empty() && request.command[0] == "--") request.command.erase(request.command.begin());
  if (request.command.empty()) {
    std::fprintf(stderr, "poolmalloc: run needs a program to run; see poolmalloc run --help\n");
    return kUsageError;
  }
  // The preset comes first, so that --set wins whatever the order of the words.
  if (statistics == "true") statistics = "1";  // how CLI11 writes a flag without a value
  if (!statistics.empty()) request.settings.insert(request.settings.begin(), "stats=" + statistics);
  if (!preset.empty()) request.settings.insert(request.settings.begin(), "preset=" + preset);
  return pm::run(request);
}
