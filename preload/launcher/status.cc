#include "preload/launcher/status.h"

#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "preload/launcher/output_file.h"
#include "preload/launcher/page_json.h"
#include "preload/launcher/simulation.h"
#include "preload/launcher/target.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

uint64_t resident_bytes_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  file >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// Seconds since the page was written; the clock counts from the same moment in every process.
double page_age(const PageStamp& stamp) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(now.tv_nsec);
  return ns > stamp.written_ns ? static_cast<double>(ns - stamp.written_ns) / 1e9 : 0;
}

std::string fixed_text(double value, int decimals) {
  char buffer[48];
  return {buffer, static_cast<size_t>(std::snprintf(buffer, sizeof buffer, "%.*f", decimals, value))};
}

struct Released {
  const char* reason;
  uint64_t bytes;
};
std::vector<Released> released_rows(const Snapshot& s) {
  return {{"idle", s.released_idle_bytes},
          {"far above demand", s.released_distance_bytes},
          {"pressure", s.released_pressure_bytes},
          {"limit near", s.released_limit_bytes},
          {"emergency", s.released_emergency_bytes},
          {"asked for", s.released_request_bytes},
          {"before growing", s.released_growth_bytes}};
}

std::string limit_text(const Snapshot& s) {
  if (s.limit_bytes == 0) return "no limit";
  return percent_text(s.usage_bytes, s.limit_bytes) + " of " + bytes_text(s.limit_bytes) + ", " +
         bytes_text(s.headroom_bytes) + " left";
}

std::string forecast_text(const Snapshot& s) {
  if (s.forecasts_judged == 0) return "nothing to go by yet";
  std::string text = bytes_text(s.forecast_bytes) + " in use in 60 s (" + bytes_text(s.forecast_low_bytes) + " to " +
                     bytes_text(s.forecast_high_bytes) + "), " + trend_name(s.forecast_trend);
  if (s.seconds_to_limit != UINT32_MAX) text += "; limit met in " + duration_text(s.seconds_to_limit);
  return text;
}

std::string options_text(const PageBody& body) {
  std::string text;
  std::istringstream lines(body.options);
  for (std::string line; std::getline(lines, line);) text += (text.empty() ? "" : " ") + printable(line);
  return text.empty() ? "all as by default" : text;
}

std::string released_text(const Snapshot& s) {
  std::string text = bytes_text(released_bytes(s));
  std::string reasons;
  for (const Released& row : released_rows(s)) {
    if (row.bytes != 0)
      reasons += (reasons.empty() ? "" : ", ") + std::string(row.reason) + " " + bytes_text(row.bytes);
  }
  return reasons.empty() ? text : text + " (" + reasons + ")";
}

Json status_json(const Target& target, const PageBody& body, const ProcessAge& age) {
  const Snapshot& s = body.snapshot;
  Json released = Json::object();
  for (const Released& row : released_rows(s)) released[row.reason] = row.bytes;
  return {{"pid", target.pid},
          {"program", target.program},
          {"active", true},
          {"version", target.version},
          {"library", target.library},
          {"mode", s.mode},
          {"fit", s.fit},
          {"started", age.started_unix_s},
          {"running_seconds", age.seconds},
          {"options", options_json(body)},
          {"worker", worker_name(s.worker_state)},
          {"worker_rounds", s.worker_rounds},
          {"worker_cpu_ns", s.worker_cpu_ns},
          {"page_age_seconds", page_age(body.stamp)},
          {"level", level_name(s.pressure_level)},
          {"limit_bytes", s.limit_bytes},
          {"usage_bytes", s.usage_bytes},
          {"heap_begin", body.stamp.heap_begin},
          {"heap_end", body.stamp.heap_end},
          {"live_bytes", s.live_bytes},
          {"resident_bytes", s.resident_bytes},
          {"committed_bytes", s.committed_bytes},
          {"dirty_bytes", s.dirty_bytes},
          {"clean_bytes", s.clean_bytes},
          {"released_bytes", released_bytes(s)},
          {"released", released},
          {"refaulted_bytes", s.refaulted_bytes}};
}

std::string status_text(const Target& target, const PageBody& body, const ProcessAge& age) {
  const Snapshot& s = body.snapshot;
  std::ostringstream out;
  const auto row = [&](const char* title, const std::string& text) {
    out << "  " << title << std::string(12 - std::char_traits<char>::length(title), ' ') << text << '\n';
  };
  out << printable(target.program) << " (pid " << target.pid << ") runs on poolmalloc " << target.version << '\n';
  row("mode", std::string(s.mode) + " magazines, " + s.fit + " fit");
  row("since", time_text(age.started_unix_s) + ", " + duration_text(age.seconds) + " ago");
  row("options", options_text(body));
  row("worker", std::string(worker_name(s.worker_state)) + ", " + grouped_text(s.worker_rounds) + " rounds, " +
                    fixed_text(static_cast<double>(s.worker_cpu_ns) / 1e6, 1) + " ms of CPU time; last look " +
                    fixed_text(page_age(body.stamp), 1) + " s ago");
  row("pressure", std::string(level_name(s.pressure_level)) + ", " + limit_text(s));
  row("forecast", forecast_text(s));
  row("live", bytes_text(s.live_bytes) + " in " + grouped_text(s.live_objects) + " objects");
  row("resident", bytes_text(s.resident_bytes) + ": heap " + bytes_text(s.heap_resident_bytes) + ", records " +
                      bytes_text(s.metadata_bytes) + ", not poolmalloc's " + bytes_text(s.other_bytes));
  row("huge pages", percent_text(s.huge_bytes, s.huge_eligible_bytes) + " of " + bytes_text(s.huge_eligible_bytes) +
                        " that could be");
  row("saved", bytes_text(s.clean_bytes) + " of the heap is free and without memory now");
  row("given back", released_text(s) + ", of which " + bytes_text(s.refaulted_bytes) + " came into use again");
  return out.str();
}

struct Row {
  std::vector<std::string> cells;
};

// Columns as wide as their longest cell, numbers to the right; the last column is not filled up.
std::string table(const std::vector<Row>& rows, const std::vector<bool>& to_the_right) {
  std::vector<size_t> widths(to_the_right.size(), 0);
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.cells.size(); ++i) widths[i] = std::max(widths[i], row.cells[i].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.cells.size(); ++i) {
      const std::string space(widths[i] - row.cells[i].size(), ' ');
      if (i != 0) text += "  ";
      if (to_the_right[i]) text += space;
      text += row.cells[i];
      if (!to_the_right[i] && i + 1 < row.cells.size()) text += space;
    }
    text += '\n';
  }
  return text;
}

Row process_row(const Target& target, const Snapshot* s) {
  const ProcessAge age = process_age(target.pid);
  const auto bytes = [&](uint64_t value) { return s != nullptr ? bytes_text(value) : std::string("-"); };
  return {{std::to_string(target.pid), printable(target.program), duration_text(age.seconds),
           bytes_text(resident_bytes_of(target.pid)), bytes(s != nullptr ? s->live_bytes : 0),
           bytes(s != nullptr ? s->dirty_bytes : 0), bytes(s != nullptr ? released_bytes(*s) : 0),
           s != nullptr ? level_name(s->pressure_level) : "-",
           s == nullptr || s->limit_bytes == 0 ? "-" : percent_text(s->usage_bytes, s->limit_bytes),
           target.state == TargetState::other_version ? "version " + target.version
           : s == nullptr                             ? "publishes nothing yet"
                                                      : s->mode}};
}

Json process_json(const Target& target, const Snapshot* s) {
  const ProcessAge age = process_age(target.pid);
  Json json = {{"pid", target.pid},
               {"program", target.program},
               {"state", target.state == TargetState::published     ? "published"
                         : target.state == TargetState::unpublished ? "unpublished"
                                                                    : "other version"},
               {"version", target.version},
               {"library", target.library},
               {"running_seconds", age.seconds},
               {"resident_bytes", resident_bytes_of(target.pid)}};
  if (s == nullptr) return json;
  json["mode"] = s->mode;
  json["live_bytes"] = s->live_bytes;
  json["committed_bytes"] = s->committed_bytes;
  json["dirty_bytes"] = s->dirty_bytes;
  json["released_bytes"] = released_bytes(*s);
  json["level"] = level_name(s->pressure_level);
  json["limit_bytes"] = s->limit_bytes;
  json["usage_bytes"] = s->usage_bytes;
  return json;
}

}  // namespace

std::string process_line(const Target& target) {
  const auto body = std::make_unique<PageBody>();
  const bool published = target.state == TargetState::published && page_read(*target.page, *body);
  const Row row = process_row(target, published ? &body->snapshot : nullptr);
  constexpr size_t kWidths[] = {8, 16, 10, 10, 10, 10, 10, 9, 6, 0};
  std::string text;
  for (size_t i = 0; i < row.cells.size(); ++i) {
    const std::string& cell = row.cells[i];
    const std::string space(cell.size() < kWidths[i] ? kWidths[i] - cell.size() : 0, ' ');
    text += (i == 0 ? "" : " ") + (i == 1 || i == 7 || i == 9 ? cell + space : space + cell);
  }
  return text;
}

const char* level_name(uint64_t level) {
  return level < kPressureLevels ? name_of(static_cast<PressureLevel>(level)) : "unknown";
}

const char* worker_name(uint64_t state) {
  constexpr const char* kNames[] = {"none", "running", "slices on the program's threads"};
  return state < std::size(kNames) ? kNames[state] : "unknown";
}

const char* trend_name(uint64_t trend) {
  constexpr const char* kNames[] = {"falling", "stable", "rising", "critical"};
  return trend < std::size(kNames) ? kNames[trend] : "unknown";
}

uint64_t released_bytes(const Snapshot& snapshot) {
  uint64_t sum = 0;
  for (const Released& row : released_rows(snapshot)) sum += row.bytes;
  return sum;
}

int print_status(std::optional<pid_t> pid, bool as_json) {
  const std::optional<Target> target = choose_target(pid);
  if (!target) return 1;
  const auto body = std::make_unique<PageBody>();
  if (!read_page(*target, *body)) return 1;
  const ProcessAge age = process_age(target->pid);
  return print_output(as_json ? dump(status_json(*target, *body, age)) : status_text(*target, *body, age));
}

int print_processes(bool as_json) {
  unsigned hidden = 0;
  const std::vector<Target> targets = find_targets(&hidden);
  std::vector<Row> rows = {
      {{"PID", "PROGRAM", "RUNS FOR", "RSS", "LIVE", "DIRTY", "GIVEN BACK", "PRESSURE", "LIMIT", "MODE"}}};
  Json list = Json::array();
  for (const Target& target : targets) {
    Snapshot snapshot;
    const bool published = target.state == TargetState::published && read_snapshot(target, snapshot);
    const Snapshot* const known = published ? &snapshot : nullptr;
    if (as_json) {
      list.push_back(process_json(target, known));
    } else {
      rows.push_back(process_row(target, known));
    }
  }
  const int result =
      print_output(as_json ? dump(list) : table(rows, {true, false, true, true, true, true, true, false, true, false}));
  if (hidden != 0 && !as_json) {
    std::fprintf(stderr, "poolmalloc: %u other process%s could not be looked at\n", hidden, hidden == 1 ? "" : "es");
  }
  return result;
}

int print_statistics(std::optional<pid_t> pid, const std::string& format) {
  const std::optional<Target> target = choose_target(pid);
  if (!target) return 1;
  Snapshot snapshot;
  if (!read_snapshot(*target, snapshot)) return 1;
  char buffer[4096];
  std::string text;
  const auto add = [](void* to, const char* data, size_t size) { static_cast<std::string*>(to)->append(data, size); };
  TextWriter out(buffer, add, &text);
  if (format == "json") {
    write_json(snapshot, out);
  } else if (format == "openmetrics") {
    write_openmetrics(snapshot, out);
  } else {
    write_text(snapshot, out);
  }
  out.flush();
  return print_output(text);
}

}  // namespace pm
