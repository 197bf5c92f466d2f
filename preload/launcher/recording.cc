#include "preload/launcher/recording.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <stdexcept>

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFormatKey[] = "poolmalloc_recording";
constexpr const char* kSeverities[] = {"fine", "note", "warning", "problem"};

std::string line_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

bool is_in_use(const Snapshot::ClassRow& row) {
  return std::any_of(std::begin(kClassMetricInfo), std::end(kClassMetricInfo),
                     [&](const ClassMetricInfo& metric) { return row.*metric.value != 0; });
}

Json json_of(const Sample& sample) {
  Json metrics = Json::array();
  for (const MetricInfo& metric : kMetricInfo) metrics.push_back(sample.snapshot.*metric.value);
  Json classes = Json::array();
  for (uint32_t i = 0; i < sample.snapshot.class_count; ++i) {
    const Snapshot::ClassRow& row = sample.snapshot.classes[i];
    if (!is_in_use(row)) continue;
    Json numbers = {row.size};
    for (const ClassMetricInfo& metric : kClassMetricInfo) numbers.push_back(row.*metric.value);
    classes.push_back(std::move(numbers));
  }
  return {{"time_ms", sample.time_ms}, {"metrics", std::move(metrics)}, {"classes", std::move(classes)}};
}

// What a file says is looked at before it is believed; the parser below turns these into a line for people.
[[noreturn]] void reject() { throw std::invalid_argument("not as it should be"); }

uint64_t number_in(const Json& json) {
  if (!json.is_number_unsigned()) reject();
  return json.get<uint64_t>();
}

std::string text_in(const Json& json, const char* key) { return json.at(key).get<std::string>(); }

// Where in the file's order each of our metrics stands; SIZE_MAX if it is missing.
template <typename Info, size_t kCount>
std::vector<size_t> places_of(const Info (&infos)[kCount], const Json& names) {
  std::vector<size_t> places;
  for (const Info& info : infos) {
    const auto found = std::find(names.begin(), names.end(), info.name);
    places.push_back(found == names.end() ? SIZE_MAX : static_cast<size_t>(found - names.begin()));
  }
  return places;
}

class Parser {
 public:
  explicit Parser(Recording& recording) : recording_(recording) {}

  // False if it is another version's: `error` says so.
  bool parse_head(const Json& head, std::string& error) {
    const uint64_t format = number_in(head.at(kFormatKey));
    const std::string made_by = head.value("made_by", std::string("another version"));
    if (format != kRecordingFormat) {
      error = "is a recording of format " + std::to_string(format) + ", made by poolmalloc " + made_by +
              "; this command reads format " + std::to_string(kRecordingFormat);
      return false;
    }
    parse_about(head.at("about"));
    recording_.every_ms = number_in(head.at("every_ms"));
    metrics_ = places_of(kMetricInfo, head.at("metrics"));
    class_metrics_ = places_of(kClassMetricInfo, head.at("class_metrics"));
    for (const std::vector<size_t>* places : {&metrics_, &class_metrics_}) {
      if (std::find(places->begin(), places->end(), SIZE_MAX) == places->end()) continue;
      error = "was made by poolmalloc " + made_by + ", whose statistics lack some of this version's";
      return false;
    }
    return true;
  }

  void parse_line(const Json& line) {
    if (line.contains("end")) return parse_end(line);
    if (line.contains("event")) return parse_event(line.at("event"));
    if (line.contains("examination")) return parse_examination(line.at("examination"));
    parse_sample(line);
  }

  bool is_whole() const { return is_whole_; }

 private:
  void parse_end(const Json& line) {
    recording_.end = text_in(line, "end");
    if (number_in(line.at("samples")) != recording_.samples.size()) reject();
    if (number_in(line.at("events")) != recording_.events.size()) reject();
    recording_.events_missed = line.at("events_missed").get<bool>();
    is_whole_ = true;
  }

  void parse_about(const Json& json) {
    Json& about = recording_.about;
    about["pid"] = number_in(json.at("pid"));
    for (const char* key : {"program", "version", "library", "mode", "fit"}) about[key] = text_in(json, key);
    about["started"] = number_in(json.at("started"));
    about["options"] = Json::object();
    for (const auto& [name, value] : json.at("options").items()) about["options"][name] = value.get<std::string>();
  }

  void parse_event(const Json& json) {
    Json event = {{"time_ms", number_in(json.at("time_ms"))},
                  {"kind", text_in(json, "kind")},
                  {"bytes", number_in(json.at("bytes"))}};
    for (const char* key : {"reason", "from", "to"}) {
      if (json.contains(key)) event[key] = text_in(json, key);
    }
    recording_.events.push_back(std::move(event));
  }

  void parse_sample(const Json& line) {
    Sample sample = {};
    sample.time_ms = number_in(line.at("time_ms"));
    if (!recording_.samples.empty() && sample.time_ms < recording_.samples.back().time_ms) reject();
    Snapshot& s = sample.snapshot;
    size_t i = 0;
    for (const MetricInfo& metric : kMetricInfo) s.*metric.value = number_in(line.at("metrics").at(metrics_[i++]));
    for (const Json& numbers : line.at("classes")) {
      if (s.class_count == kMaxSnapshotClasses) reject();
      Snapshot::ClassRow& row = s.classes[s.class_count++];
      row.size = static_cast<uint32_t>(number_in(numbers.at(0)));
      i = 0;
      for (const ClassMetricInfo& metric : kClassMetricInfo)
        row.*metric.value = number_in(numbers.at(1 + class_metrics_[i++]));
    }
    copy_text(recording_.about.value("mode", std::string()), s.mode);
    copy_text(recording_.about.value("fit", std::string()), s.fit);
    recording_.samples.push_back(sample);
  }

  template <size_t kSize>
  static void copy_text(const std::string& text, char (&to)[kSize]) {
    std::memcpy(to, text.data(), std::min(text.size(), kSize - 1));
  }

  void parse_examination(const Json& json) {
    Examination& e = recording_.examination;
    e = {};
    for (const Json& f : json.at("findings")) {
      const auto name = std::find(std::begin(kSeverities), std::end(kSeverities), text_in(f, "severity"));
      if (name == std::end(kSeverities)) reject();
      e.findings.push_back({static_cast<Severity>(name - std::begin(kSeverities)), text_in(f, "about"),
                            text_in(f, "what"), text_in(f, "remedy")});
    }
    for (const Json& a : json.at("advice"))
      e.advices.push_back({text_in(a, "option"), text_in(a, "value"), text_in(a, "reason"), text_in(a, "cost")});
    e.resident_bytes = number_in(json.at("resident_bytes"));
    for (const Json& s : json.at("resident"))
      e.shares.push_back({text_in(s, "name"), number_in(s.at("bytes")), text_in(s, "meaning")});
  }

  Recording& recording_;
  std::vector<size_t> metrics_;
  std::vector<size_t> class_metrics_;
  bool is_whole_ = false;
};

}  // namespace

Json examination_json(const Examination& examination) {
  Json findings = Json::array();
  for (const Finding& f : examination.findings) {
    findings.push_back(
        {{"severity", severity_name(f.severity)}, {"about", f.about}, {"what", f.what}, {"remedy", f.remedy}});
  }
  Json advices = Json::array();
  for (const Advice& a : examination.advices) {
    advices.push_back({{"option", a.option}, {"value", a.value}, {"reason", a.reason}, {"cost", a.cost}});
  }
  Json shares = Json::array();
  for (const Share& s : examination.shares)
    shares.push_back({{"name", s.name}, {"bytes", s.bytes}, {"meaning", s.meaning}});
  return {{"findings", findings},
          {"advice", advices},
          {"resident_bytes", examination.resident_bytes},
          {"resident", shares}};
}

const char* severity_name(Severity severity) { return kSeverities[static_cast<size_t>(severity)]; }

bool add_sample(Recording& recording, const Sample& sample) {
  std::vector<Sample>& samples = recording.samples;
  samples.push_back(sample);
  if (samples.size() < kMostSamples) return false;
  // The first stays, so that the recording begins where it began.
  size_t kept = 1;
  for (size_t i = 1; i + 1 < samples.size(); i += 2) {
    const bool second = samples[i + 1].snapshot.resident_bytes > samples[i].snapshot.resident_bytes;
    samples[kept++] = samples[second ? i + 1 : i];
  }
  if (samples.size() % 2 == 0) samples[kept++] = samples.back();
  samples.resize(kept);
  return true;
}

std::string write_recording(const Recording& recording, const std::string& version) {
  Json head = {{kFormatKey, kRecordingFormat},   {"made_by", version},       {"about", recording.about},
               {"every_ms", recording.every_ms}, {"metrics", Json::array()}, {"class_metrics", Json::array()}};
  for (const MetricInfo& metric : kMetricInfo) head["metrics"].push_back(metric.name);
  for (const ClassMetricInfo& metric : kClassMetricInfo) head["class_metrics"].push_back(metric.name);
  std::string text = line_of(head);
  for (const Sample& sample : recording.samples) text += line_of(json_of(sample));
  for (const Json& event : recording.events) text += line_of({{"event", event}});
  text += line_of({{"examination", examination_json(recording.examination)}});
  text += line_of({{"end", recording.end},
                   {"samples", recording.samples.size()},
                   {"events", recording.events.size()},
                   {"events_missed", recording.events_missed}});
  return text;
}

bool parse_recording(std::string_view text, Recording& recording, std::string& error) {
  recording = {};
  Parser parser(recording);
  size_t number = 0;
  while (!text.empty() && !parser.is_whole()) {
    const size_t end = text.find('\n');
    const Json line = Json::parse(text.substr(0, end), nullptr, false);
    ++number;
    const bool is_cut_here = end == std::string_view::npos;
    text.remove_prefix(is_cut_here ? text.size() : end + 1);
    const bool is_head = number == 1;
    if (is_head && !(line.is_object() && line.contains(kFormatKey))) {
      error = "is not a recording of poolmalloc record";
      return false;
    }
    if (is_cut_here && line.is_discarded()) break;
    try {
      if (is_head && !parser.parse_head(line, error)) return false;
      if (!is_head) parser.parse_line(line);
    } catch (const std::exception&) {
      error = "is damaged: line " + std::to_string(number) + " is not as it should be";
      return false;
    }
  }
  if (!parser.is_whole()) {
    error = number == 0 ? "is empty" : "is cut off: its last line is missing";
    return false;
  }
  if (!text.empty()) {
    error = "is damaged: there is more after its last line";
    return false;
  }
  if (recording.samples.empty()) {
    error = "holds no samples";
    return false;
  }
  return true;
}

}  // namespace pm
