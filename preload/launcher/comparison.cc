#include "preload/launcher/comparison.h"

#include <exception>

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

Json number_or_null(const Json& json) { return json.is_number() ? json : Json(); }

// A machine is described by a line or by several facts.
std::string text_of(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  std::string text;
  if (!json.is_object()) return text;
  for (const auto& [name, value] : json.items()) {
    const std::string fact = value.is_string() ? value.get<std::string>() : value.dump();
    text += (text.empty() ? "" : ", ") + name + " " + fact;
  }
  return text;
}

Json summary_of(const Json& summary) {
  Json rows = Json::array();
  for (const Json& line : summary) {
    rows.push_back({{"allocator", line.at("allocator").get<std::string>()},
                    {"rows", line.at("rows").get<uint64_t>()},
                    {"cpu", number_or_null(line.at("cpu"))},
                    {"wall", number_or_null(line.at("wall"))},
                    {"peak", number_or_null(line.at("peak_kib"))},
                    {"average", number_or_null(line.at("average_kib"))}});
  }
  return rows;
}

Json workload_of(const Json& row) {
  Json peak = Json::object();
  Json cpu = Json::object();
  for (const auto& [allocator, median] : row.at("medians").items()) {
    peak[allocator] = static_cast<uint64_t>(median.at("peak_kib").get<double>() * 1024);
    cpu[allocator] = median.at("cpu").get<double>();
  }
  return {{"name", row.at("name").get<std::string>()},
          {"question", row.at("question").get<std::string>()},
          {"peak_bytes", peak},
          {"cpu_seconds", cpu}};
}

}  // namespace

bool read_comparison(std::string_view text, Json& comparison, std::string& error) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("summary") || !json.contains("rows")) {
    error = "is not what scripts/bench --json writes";
    return false;
  }
  try {
    const Json about = json.value("about", Json::object());
    comparison = {{"title", about.value("title", std::string())},
                  {"date", about.value("date", std::string())},
                  {"machine", about.contains("machine") ? text_of(about.at("machine")) : std::string()},
                  {"summary", summary_of(json.at("summary"))},
                  {"workloads", Json::array()}};
    for (const Json& row : json.at("rows")) comparison["workloads"].push_back(workload_of(row));
  } catch (const std::exception&) {
    error = "is damaged: not all is there that scripts/bench --json writes";
    return false;
  }
  return true;
}

}  // namespace pm
