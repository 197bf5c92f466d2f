#include "preload/launcher/serve_json.h"

#include <time.h>

#include <nlohmann/json.hpp>

#include "preload/launcher/page_json.h"
#include "preload/launcher/status.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

uint64_t unix_ms() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

Json head_of(const SurveyedProcess& process) {
  const Target& target = process.target;
  return {{"pid", target.pid},
          {"program", target.program},
          {"state", state_name(process)},
          {"why", target.complaint},
          {"version", target.version},
          {"cgroup", process.cgroup},
          {"started", process.started_unix_s}};
}

// What the page draws over time.
void add_overview(Json& json, const PageBody& body) {
  const Snapshot& s = body.snapshot;
  json["written_ms"] = body.stamp.written_unix_ns / 1'000'000;
  json["level_name"] = level_name(s.pressure_level);
  json["released_bytes"] = released_bytes(s);
  const auto add = [&](auto... names) {
    const auto one = [&](const char* name) {
      uint64_t value = 0;
      find_metric(s, name, value);
      json[name] = value;
    };
    (one(names), ...);
  };
  add("live_bytes", "live_objects", "resident_bytes", "committed_bytes", "exposed_bytes", "dirty_bytes", "clean_bytes",
      "magazine_bytes", "depot_bytes", "slab_free_bytes", "pressure_level", "limit_bytes", "usage_bytes",
      "headroom_bytes", "forecast_bytes", "forecast_low_bytes", "forecast_high_bytes", "forecast_trend",
      "forecast_confidence", "forecasts_judged", "forecast_error", "forecast_coverage", "seconds_to_limit",
      "allocations", "frees", "refaulted_bytes", "mappings", "leak_score", "misuses");
}

}  // namespace

std::string processes_json(const Survey& survey) {
  Json list = Json::array();
  for (const SurveyedProcess& process : survey.processes) {
    Json one = head_of(process);
    if (process.page != nullptr) add_overview(one, *process.page);
    list.push_back(std::move(one));
  }
  return dump({{"time_ms", unix_ms()},
               {"forbidden", survey.forbidden},
               {"left_out", survey.left_out},
               {"seconds", survey.seconds},
               {"processes", std::move(list)}});
}

std::string process_json(const SurveyedProcess& process) {
  const PageBody& body = *process.page;
  Json json = head_of(process);
  json["time_ms"] = unix_ms();
  json["library"] = process.target.library;
  json["cgroup_path"] = process.cgroup_path;
  add_overview(json, body);
  json["options"] = options_json(body);
  Json cpus = Json::array();
  for (uint32_t i = 0; i < body.stamp.cpu_rows; ++i) {
    const CpuRow& row = body.cpus[i];
    cpus.push_back({{"cpu", row.cpu},
                    {"objects", row.objects},
                    {"bytes", row.bytes},
                    {"capacity_bytes", row.capacity_bytes},
                    {"hits", row.hits},
                    {"misses", row.misses}});
  }
  json["cpus"] = std::move(cpus);
  Json nodes = Json::array();
  for (uint32_t i = 0; i < body.stamp.node_rows; ++i) {
    const NodeRow& row = body.nodes[i];
    nodes.push_back({{"node", row.kernel_node},
                     {"mapped_bytes", row.mapped_bytes},
                     {"slab_bytes", row.slab_bytes},
                     {"large_bytes", row.large_bytes},
                     {"dirty_bytes", row.dirty_bytes},
                     {"clean_bytes", row.clean_bytes}});
  }
  json["nodes"] = std::move(nodes);
  json["events"] = events_json(body);
  json["statistics"] = statistics_json(body.snapshot);
  return dump(json);
}

std::string error_json(const std::string& text) { return dump({{"error", text}}); }

}  // namespace pm
