#include "preload/launcher/simulate.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "config/options.h"
#include "preload/launcher/output_file.h"
#include "preload/launcher/simulation.h"
#include "preload/launcher/simulation_page.h"
#include "reclaim/settings.h"

namespace pm {
namespace {

using nlohmann::json;

constexpr int kBadRequest = 2;
constexpr double kBar = 1.3;  // cost over the oracle's that the library means to stay below

int refuse(const std::string& line) {
  std::fprintf(stderr, "poolmalloc: %s\n", line.c_str());
  return kBadRequest;
}

// Says on a terminal how far a long job is.
class Progress {
 public:
  explicit Progress(size_t total) : total_(total) {}
  ~Progress() {
    if (shown_) std::fputs("\r\033[K", stderr);
  }
  void done(const std::string& what) {
    ++done_;
    const auto now = std::chrono::steady_clock::now();
    if (now - started_ < std::chrono::seconds(2) || isatty(STDERR_FILENO) == 0) return;
    shown_ = true;
    std::fprintf(stderr, "\r\033[K%zu of %zu: %s", done_, total_, what.c_str());
  }

 private:
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  size_t total_;
  size_t done_ = 0;
  bool shown_ = false;
};

// The library's options, with what --set says; a bad one is a line in `error`.
bool read_settings(const std::vector<std::string>& given, SimulationSettings& settings, std::string& error) {
  Options options;
  TextWriter nowhere(nullptr, 0);
  parse_options(nullptr, true, options, nowhere);
  for (const std::string& setting : given) {
    const size_t equals = setting.find('=');
    const int index = equals == std::string::npos ? -1 : find_option(setting.c_str(), equals);
    char buffer[256];
    TextWriter reason(buffer);
    if (index < 0) {
      error = setting + " is not an option and its value; see poolmalloc options";
      return false;
    }
    if (!set_option(options, static_cast<size_t>(index), setting.c_str() + equals + 1, reason)) {
      error = setting + " " + reason.c_str();
      return false;
    }
  }
  settings.levels = level_options(options);
  settings.plan = plan_options(options);
  settings.hold_ns_per_mib_second = options.memory_price * 1000;
  return true;
}

std::string number(double value, int decimals = 2) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", decimals, value);
  return buffer;
}

// Text in columns: the first to the left, the others to the right.
class Table {
 public:
  void add(std::vector<std::string> line) { lines_.push_back(std::move(line)); }
  std::string text() const {
    std::vector<size_t> widths;
    for (const auto& line : lines_) {
      widths.resize(std::max(widths.size(), line.size()));
      for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
    }
    std::string text;
    for (const auto& line : lines_) {
      for (size_t i = 0; i < line.size(); ++i) {
        const std::string space(widths[i] - line[i].size(), ' ');
        text += i == 0 ? line[i] + space : "  " + space + line[i];
      }
      text += "\n";
    }
    return text;
  }
  std::string csv() const {
    std::string text;
    for (const auto& line : lines_) {
      for (size_t i = 0; i < line.size(); ++i) text += (i > 0 ? "," : "") + line[i];
      text += "\n";
    }
    return text;
  }

 private:
  std::vector<std::vector<std::string>> lines_;
};

json cost_as_json(const Outcome& outcome) {
  return {{"policy", outcome.policy},
          {"cost_seconds", outcome.cost.total()},
          {"over_oracle", outcome.over_oracle},
          {"hold_seconds", outcome.cost.hold},
          {"first_touch_seconds", outcome.cost.first_touch},
          {"refault_seconds", outcome.cost.refault},
          {"decommit_seconds", outcome.cost.decommit},
          {"resident_to_used", outcome.resident_to_used},
          {"decommitted_bytes", outcome.decommitted_bytes},
          {"over_limit_seconds", outcome.over_limit_s}};
}

struct Run {
  const Backing* backing;
  Simulation simulation;
};

json run_as_json(const Run& run) {
  json policies = json::array({cost_as_json(run.simulation.oracle)});
  for (const Outcome& outcome : run.simulation.outcomes) policies.push_back(cost_as_json(outcome));
  json released, levels;
  for (unsigned i = 0; i < kReasons; ++i) {
    released[name_of(static_cast<Reason>(i))] = run.simulation.released_bytes[i];
  }
  for (unsigned i = 0; i < kPressureLevels; ++i) {
    levels[name_of(static_cast<PressureLevel>(i))] = run.simulation.level_seconds[i];
  }
  return {{"backing", run.backing->name},
          {"seconds", run.simulation.seconds},
          {"policies", policies},
          {"released_bytes", released},
          {"level_seconds", levels}};
}

std::string run_as_text(const Run& run) {
  Table table;
  table.add({"  policy", "cost s", "x oracle", "hold s", "refault s", "decommit s", "MiB given back", "RSS/used",
             "over limit s"});
  const auto line = [&table](const Outcome& outcome) {
    const Cost& cost = outcome.cost;
    table.add({"  " + outcome.policy, number(cost.total(), 3), number(outcome.over_oracle), number(cost.hold, 3),
               number(cost.refault, 3), number(cost.decommit, 3), number(outcome.decommitted_bytes / (1024 * 1024), 0),
               outcome.policy == "oracle" ? "-" : number(outcome.resident_to_used), number(outcome.over_limit_s, 1)});
  };
  line(run.simulation.oracle);
  for (const Outcome& outcome : run.simulation.outcomes) line(outcome);
  std::string text = run.backing->name + ": " + run.backing->text + "\n" + table.text() + "  poolmalloc gave back";
  const char* between = " ";
  for (unsigned i = 0; i < kReasons; ++i) {
    const uint64_t bytes = run.simulation.released_bytes[i];
    if (bytes == 0) continue;
    text += between + number(static_cast<double>(bytes) / (1024 * 1024), 0) + " MiB (" +
            name_of(static_cast<Reason>(i)) + ")";
    between = ", ";
  }
  if (between[0] == ' ') text += " nothing";
  text += "; levels:";
  for (unsigned i = 0; i < kPressureLevels; ++i) {
    if (run.simulation.level_seconds[i] > 0) {
      text += std::string(" ") + name_of(static_cast<PressureLevel>(i)) + " " +
              number(run.simulation.level_seconds[i], 0) + " s";
    }
  }
  return text + "\n";
}

std::vector<const Backing*> chosen_backings(const std::string& name) {
  std::vector<const Backing*> chosen;
  for (const Backing& backing : backings()) {
    if (name.empty() || name == backing.name) chosen.push_back(&backing);
  }
  return chosen;
}

bool read_file(const std::string& path, Curve& curve, std::string& error) {
  std::ifstream file(path);
  if (!file) {
    error = "cannot read " + path;
    return false;
  }
  if (!read_curve(file, curve, error)) {
    error = path + ": " + error;
    return false;
  }
  curve.name = path;
  return true;
}

int simulate_one(const SimulateRequest& request, SimulationSettings settings) {
  Curve curve;
  std::string error;
  if (!request.curve_file.empty()) {
    if (!read_file(request.curve_file, curve, error)) return refuse(error);
  } else {
    curve = make_curve({request.family, request.seed, request.seconds, request.hertz});
    if (curve.points.empty())
      return refuse("a curve of " + number(request.seconds, 0) + " s at " + number(request.hertz) +
                    " Hz has no points, or too many");
  }
  settings.keep_moments = !request.html_file.empty();

  std::vector<Run> runs;
  const auto chosen = chosen_backings(request.backing);
  const auto started = std::chrono::steady_clock::now();
  Progress progress(chosen.size());
  for (const Backing* backing : chosen) {
    runs.push_back({backing, simulate_curve(curve, *backing, settings)});
    progress.done(backing->name);
  }
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const double played = runs[0].simulation.seconds * static_cast<double>(runs.size());

  if (!request.html_file.empty()) {
    json data = {{"curve", curve.name}, {"runs", json::array()}};
    for (const Run& run : runs) {
      json one = run_as_json(run);
      one["text"] = run.backing->text;
      json& moments = one["moments"];
      for (const Moment& moment : run.simulation.moments) {
        json released = json::array();
        for (const uint64_t bytes : moment.released_bytes) released.push_back(bytes);
        moments.push_back({moment.time_s, moment.used_bytes, moment.resident_bytes,
                           moment.limit_bytes == kNoLimit ? json() : json(moment.limit_bytes), moment.low_bytes,
                           moment.high_bytes, static_cast<unsigned>(moment.level), released});
      }
      data["runs"].push_back(one);
    }
    for (unsigned i = 0; i < kReasons; ++i) data["reasons"].push_back(name_of(static_cast<Reason>(i)));
    for (unsigned i = 0; i < kPressureLevels; ++i) data["levels"].push_back(name_of(static_cast<PressureLevel>(i)));
    data["horizon_seconds"] = kHorizonSeconds[0];
    std::ofstream file(request.html_file);
    file << simulation_page(data.dump());
    if (!file.flush()) return refuse("cannot write " + request.html_file);
  }

  if (request.format == SimulateFormat::json) {
    json document = {{"curve", curve.name}, {"points", curve.points.size()}, {"runs", json::array()}};
    for (const Run& run : runs) document["runs"].push_back(run_as_json(run));
    return print_output(document.dump(1) + "\n");
  }
  if (request.format == SimulateFormat::csv) {
    Table table;
    table.add({"backing", "policy", "cost_s", "over_oracle", "hold_s", "first_touch_s", "refault_s", "decommit_s",
               "resident_to_used", "over_limit_s"});
    for (const Run& run : runs) {
      const auto line = [&](const Outcome& o) {
        table.add({run.backing->name, o.policy, number(o.cost.total(), 6), number(o.over_oracle, 4),
                   number(o.cost.hold, 6), number(o.cost.first_touch, 6), number(o.cost.refault, 6),
                   number(o.cost.decommit, 6), number(o.resident_to_used, 4), number(o.over_limit_s, 3)});
      };
      line(run.simulation.oracle);
      for (const Outcome& outcome : run.simulation.outcomes) line(outcome);
    }
    return print_output(table.csv());
  }
  std::string text = curve.name + ": " + number(runs[0].simulation.seconds, 0) + " s in " +
                     std::to_string(curve.points.size()) + " points, played " +
                     number(wall > 0 ? played / wall : 0, 0) + " times as fast\n";
  for (const Run& run : runs) text += "\n" + run_as_text(run);
  return print_output(text);
}

// Every family and backing: the costs of all seeds together over the oracle's.
int simulate_all(const SimulateRequest& request, const SimulationSettings& settings) {
  const auto chosen = chosen_backings(request.backing);
  const auto& families = curve_families();
  Progress progress(families.size() * chosen.size() * request.seeds);
  Table table;
  json rows = json::array();
  unsigned above = 0;
  double worst = 0;
  double sum = 0;
  for (const std::string& family : families) {
    for (const Backing* backing : chosen) {
      double oracle = 0;
      double worst_seed = 0;
      std::vector<double> totals;
      std::vector<std::string> names;
      double resident = 0;
      for (unsigned i = 0; i < request.seeds; ++i) {
        const Curve curve = make_curve({family, request.seed + i, request.seconds, request.hertz});
        if (curve.points.empty())
          return refuse("a curve of " + number(request.seconds, 0) + " s at " + number(request.hertz) +
                        " Hz has no points, or too many");
        const Simulation simulation = simulate_curve(curve, *backing, settings);
        oracle += simulation.oracle.cost.total();
        worst_seed = std::max(worst_seed, simulation.outcomes[0].over_oracle);
        totals.resize(simulation.outcomes.size());
        names.clear();
        for (size_t k = 0; k < totals.size(); ++k) {
          names.push_back(simulation.outcomes[k].policy);
          totals[k] += simulation.outcomes[k].cost.total();
        }
        resident += simulation.outcomes[0].resident_to_used / request.seeds;
        progress.done(family + ", " + backing->name);
      }
      std::vector<std::string> line = {family, backing->name};
      json row = {
          {"family", family}, {"backing", backing->name}, {"worst_seed", worst_seed}, {"over_oracle", json::object()}};
      if (rows.empty()) {
        std::vector<std::string> head = {"family", "backing"};
        head.insert(head.end(), names.begin(), names.end());
        head.push_back("worst seed");
        head.push_back("RSS/used");
        table.add(head);
      }
      for (size_t k = 0; k < totals.size(); ++k) {
        const double ratio = oracle > 0 ? totals[k] / oracle : 1;
        line.push_back(number(ratio));
        row["over_oracle"][names[k]] = ratio;
      }
      const double ours = row["over_oracle"][names[0]];
      row["resident_to_used"] = resident;
      line.push_back(number(worst_seed));
      line.push_back(number(resident));
      table.add(line);
      rows.push_back(row);
      worst = std::max(worst, ours);
      sum += ours;
      above += ours > kBar;
    }
  }
  const double mean = sum / static_cast<double>(rows.size());
  if (request.format == SimulateFormat::json) {
    return print_output(
        json({{"rows", rows}, {"mean", mean}, {"worst", worst}, {"above_bar", above}, {"bar", kBar}}).dump(1) + "\n");
  }
  if (request.format == SimulateFormat::csv) return print_output(table.csv());
  return print_output("cost over an oracle that knows the future; " + std::to_string(request.seeds) + " seeds of " +
                      number(request.seconds, 0) + " s at " + number(request.hertz) + " Hz\n" + table.text() +
                      "poolmalloc: mean " + number(mean) + ", worst " + number(worst) + ", above " + number(kBar, 1) +
                      " on " + std::to_string(above) + " of " + std::to_string(rows.size()) + "\n");
}

}  // namespace

int simulate(const SimulateRequest& request) {
  SimulationSettings settings;
  std::string error;
  if (!read_settings(request.settings, settings, error)) return refuse(error);
  if (chosen_backings(request.backing).empty())
    return refuse("--backing " + request.backing + " is not one of huge, small, host");
  const auto& families = curve_families();
  if (request.all) {
    if (!request.curve_file.empty() || !request.family.empty() || !request.html_file.empty()) {
      return refuse("--all plays every family: it takes no curve, no --family and no --html");
    }
    return simulate_all(request, settings);
  }
  if (request.curve_file.empty() == request.family.empty()) {
    return refuse("simulate takes a curve's file, or --family, or --all");
  }
  if (!request.family.empty() && std::find(families.begin(), families.end(), request.family) == families.end()) {
    std::string names;
    for (const std::string& name : families) names += (names.empty() ? "" : ", ") + name;
    return refuse("--family " + request.family + " is not one of " + names);
  }
  return simulate_one(request, settings);
}

}  // namespace pm
