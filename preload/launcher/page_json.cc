#include "preload/launcher/page_json.h"

#include <sstream>
#include <string>

#include "preload/launcher/simulation.h"
#include "preload/launcher/status.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

const char* event_name(EventKind kind) {
  constexpr const char* kNames[] = {"none", "decommit",  "drain",   "prefault", "collapse", "level",
                                    "trim", "emergency", "refusal", "fork",     "worker"};
  static_assert(std::size(kNames) == kEventKinds);
  const auto i = static_cast<size_t>(kind);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

}  // namespace

Json event_json(const PageStamp& stamp, const Event& event) {
  // The clock of events stands still while the machine sleeps; the page's own moment has both.
  const uint64_t age_ns = stamp.written_ns > event.time_ns ? stamp.written_ns - event.time_ns : 0;
  Json one = {{"time_ms", (stamp.written_unix_ns - age_ns) / 1'000'000},
              {"kind", event_name(event.kind)},
              {"bytes", event.bytes}};
  const bool has_reason = event.kind == EventKind::decommit || event.kind == EventKind::drain;
  if (has_reason) one["reason"] = event.reason < kReasons ? name_of(static_cast<Reason>(event.reason)) : "unknown";
  if (event.kind == EventKind::level) {
    one["from"] = level_name(event.from);
    one["to"] = level_name(event.to);
  }
  return one;
}

Json events_json(const PageBody& body) {
  Json events = Json::array();
  for (uint32_t i = 0; i < body.stamp.events; ++i) events.push_back(event_json(body.stamp, body.events[i]));
  return events;
}

Json options_json(const PageBody& body) {
  Json options = Json::object();
  std::istringstream lines(body.options);
  for (std::string line; std::getline(lines, line);) {
    const size_t equals = line.find('=');
    if (equals != std::string::npos) options[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return options;
}

Json statistics_json(const Snapshot& snapshot) {
  std::string text;
  char buffer[4096];
  TextWriter out(
      buffer, [](void* to, const char* data, size_t size) { static_cast<std::string*>(to)->append(data, size); },
      &text);
  write_json(snapshot, out);
  return Json::parse(text, nullptr, false);
}

}  // namespace pm
