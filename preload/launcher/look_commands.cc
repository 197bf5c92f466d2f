#include "preload/launcher/look_commands.h"

#include <CLI/CLI.hpp>

#include "preload/launcher/advise.h"
#include "preload/launcher/doctor.h"
#include "preload/launcher/status.h"
#include "preload/launcher/topology.h"

namespace pm {

LookCommands::LookCommands(CLI::App& app) {
  status_ = app.add_subcommand("status", "Say whether and how a process runs on poolmalloc, and what that did");
  add_pid(status_);
  add_json(status_, "As one JSON object");
  processes_ = app.add_subcommand("ps", "List the processes that run on poolmalloc");
  add_json(processes_, "As a JSON array");
  add_top(app);
  stats_ = app.add_subcommand("stats", "Print the statistics of a process that runs");
  add_pid(stats_);
  stats_->add_option("--format", format_, "text, json or openmetrics")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"text", "json", "openmetrics"}));
  doctor_ = app.add_subcommand(
      "doctor", "Say what about the machine, or about a process, keeps the library from doing well, and what to do");
  add_pid(doctor_);
  doctor_->get_option("pid")->description("The process; without it, the machine alone");
  add_json(doctor_, "As one JSON object");
  advise_ = app.add_subcommand("advise",
                               "Recommend options for a process from what it did so far, as lines of an environment");
  add_pid(advise_);
  add_json(advise_, "As a JSON array");
  topology_ = app.add_subcommand(
      "topology", "Show the machine's memory nodes, as hwloc sees them, and what the library does with them");
  add_json(topology_, "As one JSON object");
  topology_->footer("HWLOC_SYNTHETIC and HWLOC_XMLFILE describe another machine than this one: see hwloc(7).");
}

void LookCommands::add_pid(CLI::App* command) {
  command->add_option("pid", pid_, "The process; without it, the only one that runs on poolmalloc")
      ->type_name("PID")
      ->check([](const std::string& text) {
        const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
        const bool fits = digits && text.size() <= 9 && text.find_first_not_of('0') != std::string::npos;
        return fits ? std::string() : text + " is not the number of a process";
      });
}

void LookCommands::add_json(CLI::App* command, const char* text) { command->add_flag("--json", json_, text); }

void LookCommands::add_top(CLI::App& app) {
  top_ = app.add_subcommand("top", "Watch a process, or choose one from the list of those on poolmalloc");
  add_pid(top_);
  top_->add_option("-d,--delay", view_.seconds, "Seconds between looks")
      ->type_name("S")
      ->check(CLI::Range(0.1, 3600.0));
  top_->add_flag("--batch", view_.batch, "Print frames instead of using the terminal");
  top_->add_option("-n,--frames", view_.frames, "With --batch: how many frames; otherwise without end")
      ->type_name("N")
      ->check(CLI::Range(1u, 1'000'000'000u));
  top_->add_flag("--once", once_, "The same as --batch -n 1");
  top_->add_option("--pane", view_.pane, "What the lower half begins with: classes, sites, cpus, nodes or events")
      ->type_name("NAME")
      ->check(CLI::IsMember({"classes", "sites", "cpus", "nodes", "events"}));
  top_->footer(
      "Keys: q quit, p pause, s sort, Tab other rows, P heap profile, arrows and page keys move, b back to the list, h "
      "help.");
}

int LookCommands::run_top() const {
  TopRequest request = view_;
  request.pid = pid_;
  request.batch = request.batch || once_;
  if (once_) request.frames = 1;
  return top(request);
}

std::optional<int> LookCommands::run() const {
  if (status_->parsed()) return print_status(pid_, json_);
  if (processes_->parsed()) return print_processes(json_);
  if (top_->parsed()) return run_top();
  if (stats_->parsed()) return print_statistics(pid_, format_);
  if (doctor_->parsed()) return print_examination(pid_, json_);
  if (advise_->parsed()) return print_advice(pid_, json_);
  if (topology_->parsed()) return print_topology(json_);
  return {};
}

}  // namespace pm
