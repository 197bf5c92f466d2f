#include "preload/launcher/serve_commands.h"

#include <CLI/CLI.hpp>
#include <climits>

#include "preload/launcher/embedded.h"
#include "preload/launcher/output_file.h"

namespace pm {

ServeCommands::ServeCommands(CLI::App& app) {
  serve_ = app.add_subcommand(
      "serve",
      "Serve the statistics of all processes over HTTP: to Prometheus (/metrics), scripts (/api) and browsers");
  serve_->add_option("--listen", request_.address, "Where to listen; without an address, on all of them")
      ->type_name("ADDRESS:PORT")
      ->capture_default_str();
  serve_->add_option("--pid", request_.survey.pids, "This process alone; may be given several times")
      ->type_name("PID")
      ->check(CLI::Range(1, INT_MAX).description(""));
  serve_->add_option("--program", request_.survey.programs, "Programs of this name alone; a pattern such as 'redis*'")
      ->type_name("NAME");
  serve_->add_option("--max-processes", request_.survey.max_processes, "The oldest so many at most")
      ->type_name("N")
      ->check(CLI::Range(1u, 10000u))
      ->capture_default_str();
  fleet_ = app.add_subcommand("fleet", "Print what monitoring many machines needs: poolmalloc fleet rules");
  fleet_->add_option("part", part_, "rules: alerts for Prometheus; dashboard: for Grafana, as JSON")
      ->type_name("PART")
      ->required()
      ->check(CLI::IsMember({"rules", "dashboard"}));
}

std::optional<int> ServeCommands::run() const {
  if (serve_->parsed()) return serve(request_);
  if (!fleet_->parsed()) return {};
  return print_output(part_ == "rules" ? kAlertRules : kDashboard);
}

}  // namespace pm
