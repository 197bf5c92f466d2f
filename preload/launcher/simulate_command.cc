#include "preload/launcher/simulate_command.h"

#include <CLI/CLI.hpp>

namespace pm {

SimulateCommand::SimulateCommand(CLI::App& app) {
  simulate_ = app.add_subcommand(
      "simulate",
      "Play a curve of memory use through the library's plan, and compare its cost with other ways to decide");
  simulate_->add_option("curve", request_.curve_file, "CSV: time_s,used_bytes[,usage_bytes][,limit_bytes]")
      ->type_name("CURVE.csv");
  simulate_->add_option("--family", request_.family, "A curve made from a seed, such as square_20, saw_leak or bursts")
      ->type_name("NAME");
  simulate_->add_option("--seed", request_.seed, "Of the family's curve; with --all, of the first")->type_name("N");
  simulate_->add_option("--seeds", request_.seeds, "With --all: how many curves of each family")
      ->type_name("N")
      ->check(CLI::Range(1u, 1000u));
  simulate_->add_option("--seconds", request_.seconds, "Length of a family's curve")->type_name("S");
  simulate_->add_option("--hertz", request_.hertz, "Points of a family's curve in a second")->type_name("HZ");
  simulate_->add_option("--backing", request_.backing, "What lies under the heap: huge, small or host; otherwise each")
      ->type_name("NAME");
  simulate_->add_flag("--all", request_.all, "Every family and backing: a table of costs over the oracle's");
  simulate_->add_option("--set", request_.settings, "Set an option of the library; may be given several times")
      ->type_name("name=value")
      ->expected(1)
      ->take_all();
  simulate_->add_flag("--json", json_, "Print JSON");
  simulate_->add_flag("--csv", csv_, "Print CSV")->excludes("--json");
  simulate_->add_option("--html", request_.html_file, "Write a page with the curve, the forecast and the decisions")
      ->type_name("FILE");
}

std::optional<int> SimulateCommand::run() const {
  if (!simulate_->parsed()) return {};
  SimulateRequest request = request_;
  request.format = json_ ? SimulateFormat::json : csv_ ? SimulateFormat::csv : SimulateFormat::text;
  return simulate(request);
}

}  // namespace pm
