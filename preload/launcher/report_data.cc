#include "preload/launcher/report_data.h"

#include <algorithm>
#include <map>
#include <vector>

#include "preload/launcher/health.h"
#include "preload/launcher/page_json.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;
using Samples = std::vector<const Sample*>;

// At most `most` of them, the first and the last among these; of neighbours that with most resident memory, because
// peaks are what people look for.
Samples thinned(const std::vector<Sample>& samples, size_t most) {
  Samples chosen;
  const size_t count = samples.size();
  if (count <= most) {
    for (const Sample& sample : samples) chosen.push_back(&sample);
    return chosen;
  }
  chosen.push_back(&samples.front());
  const size_t inner = most - 2;
  for (size_t i = 0; i < inner; ++i) {
    const auto begin = samples.begin() + 1 + static_cast<long>(i * (count - 2) / inner);
    const auto end = samples.begin() + 1 + static_cast<long>((i + 1) * (count - 2) / inner);
    chosen.push_back(&*std::max_element(begin, end, [](const Sample& a, const Sample& b) {
      return a.snapshot.resident_bytes < b.snapshot.resident_bytes;
    }));
  }
  chosen.push_back(&samples.back());
  return chosen;
}

Json times_of(const Samples& samples) {
  Json times = Json::array();
  for (const Sample* sample : samples) times.push_back(sample->time_ms);
  return times;
}

Json timeline_json(const Samples& samples) {
  Json json = {{"time_ms", times_of(samples)}};
  for (const char* name : {"live_bytes", "resident_bytes", "committed_bytes", "dirty_bytes", "clean_bytes",
                           "magazine_bytes", "depot_bytes", "slab_free_bytes", "limit_bytes", "usage_bytes",
                           "forecast_bytes", "forecast_low_bytes", "forecast_high_bytes", "forecasts_judged",
                           "pressure_level", "allocations", "frees", "decommitted_bytes", "refaulted_bytes"}) {
    Json column = Json::array();
    for (const Sample* sample : samples) {
      uint64_t value = 0;
      find_metric(sample->snapshot, name, value);
      column.push_back(value);
    }
    json[name] = std::move(column);
  }
  return json;
}

// Recordings leave classes out that are not in use.
const Snapshot::ClassRow* find_class(const Snapshot& snapshot, uint32_t size) {
  const auto end = snapshot.classes + snapshot.class_count;
  const auto found =
      std::find_if(snapshot.classes, end, [&](const Snapshot::ClassRow& row) { return row.size == size; });
  return found == end ? nullptr : found;
}

Json classes_json(const Samples& samples) {
  std::map<uint32_t, bool> sizes;  // of classes that ever held a slot
  bool has_large = false;
  for (const Sample* sample : samples) {
    has_large = has_large || sample->snapshot.live_large_bytes > 0;
    for (uint32_t i = 0; i < sample->snapshot.class_count; ++i) {
      const Snapshot::ClassRow& row = sample->snapshot.classes[i];
      if (row.slot_capacity > 0) sizes[row.size] = true;
    }
  }
  Json classes = Json::array();
  for (const auto& entry : sizes) {
    Json live = Json::array();
    Json occupied = Json::array();
    for (const Sample* sample : samples) {
      const Snapshot::ClassRow* const row = find_class(sample->snapshot, entry.first);
      const bool has_slots = row != nullptr && row->slot_capacity > 0;
      live.push_back(row == nullptr ? 0 : row->live_objects * row->size);
      occupied.push_back(has_slots ? Json(row->live_objects * 1000 / row->slot_capacity) : Json());
    }
    classes.push_back({{"size", entry.first}, {"live_bytes", live}, {"occupied_permille", occupied}});
  }
  if (has_large) {
    Json live = Json::array();
    for (const Sample* sample : samples) live.push_back(sample->snapshot.live_large_bytes);
    classes.push_back({{"size", 0}, {"live_bytes", live}});
  }
  return {{"time_ms", times_of(samples)}, {"classes", classes}};
}

Observed observed_in(const Recording& recording) {
  Observed o;
  const std::vector<Sample>& samples = recording.samples;
  o.findings = recording.examination.findings;
  o.advices = recording.examination.advices.size();
  o.first = samples.front().snapshot;
  o.last = samples.back().snapshot;
  o.seconds = static_cast<double>(samples.back().time_ms - samples.front().time_ms) / 1000;
  for (size_t i = 0; i < samples.size(); ++i) {
    const Snapshot& s = samples[i].snapshot;
    const double seconds =
        i + 1 < samples.size() ? static_cast<double>(samples[i + 1].time_ms - samples[i].time_ms) / 1000 : 0;
    if (s.pressure_level < kLevels) o.level_seconds[s.pressure_level] += seconds;
    const auto share = 1 / static_cast<double>(samples.size());
    o.mean_resident_bytes += share * static_cast<double>(s.resident_bytes);
    o.mean_free_resident_bytes += share * static_cast<double>(s.dirty_bytes + s.magazine_bytes + s.depot_bytes);
  }
  return o;
}

Json health_json(const Health& health) {
  Json deductions = Json::array();
  for (const Deduction& d : health.deductions) deductions.push_back({{"points", d.points}, {"why", d.why}});
  return {{"points", health.points}, {"deductions", deductions}};
}

}  // namespace

Json report_json(const Recording& recording) {
  const std::vector<Sample>& samples = recording.samples;
  Json json = {{"process", recording.about},
               {"recording",
                {{"from_ms", samples.front().time_ms},
                 {"to_ms", samples.back().time_ms},
                 {"every_ms", recording.every_ms},
                 {"samples", samples.size()},
                 {"end", recording.end}}},
               {"health", health_json(judge(observed_in(recording)))}};
  json.update(examination_json(recording.examination));
  for (Json& advice : json["advice"]) advice["variable"] = variable_of(advice["option"].get<std::string>());
  json["events"] = recording.events;
  json["events_missed"] = recording.events_missed;
  json["timeline"] = timeline_json(thinned(samples, kMostPoints));
  json["classes_over_time"] = classes_json(thinned(samples, kMostColumns));
  json["statistics"] = statistics_json(samples.back().snapshot);
  return json;
}

}  // namespace pm
