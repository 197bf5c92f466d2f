#include "preload/launcher/report_page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <vector>

#include "metrics/events.h"
#include "preload/launcher/embedded.h"
#include "preload/launcher/status.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kTimelineRows = 20;
constexpr size_t kEventRows = 100;
constexpr uint64_t kNotInSight = UINT32_MAX;

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      case '\0': break;
      default: out += c;
    }
  }
  return out;
}

std::string text_of(const Json& json, const char* key) { return json.at(key).get<std::string>(); }
uint64_t number_of(const Json& json, const char* key) { return json.at(key).get<uint64_t>(); }
std::string bytes_of(const Json& json, const char* key) { return bytes_text(number_of(json, key)); }

std::string time_of(uint64_t ms) {
  char fraction[16];
  std::snprintf(fraction, sizeof fraction, ".%u", static_cast<unsigned>(ms % 1000 / 100));
  return time_text(ms / 1000) + fraction;
}

std::string ratio_text(const Json& value) {
  if (!value.is_number()) return "–";
  char buffer[32];
  return {buffer, static_cast<size_t>(std::snprintf(buffer, sizeof buffer, "%.2f", value.get<double>()))};
}

std::string replaced(std::string text, char from, char to) {
  std::replace(text.begin(), text.end(), from, to);
  return text;
}

// A bar behind a number, for the eye; the number itself stands beside it.
std::string bar(double share) {
  char buffer[96];
  std::snprintf(buffer, sizeof buffer, "<span class=\"bar\" style=\"width:%.1f%%\"></span>",
                std::isfinite(share) ? std::clamp(share, 0.0, 1.0) * 100 : 0.0);
  return std::string("<span class=\"track\">") + buffer + "</span>";
}

// Rows of cells that are HTML already.
class Table {
 public:
  // A column whose title begins with '<' is set to the left, as words are.
  Table(const char* id, const std::vector<std::string>& titles) {
    html_ = std::string("<div class=\"scroll\"><table id=\"") + id + "\"><thead><tr>";
    for (const std::string& title : titles) {
      const bool left = !title.empty() && title[0] == '<';
      left_.push_back(left);
      html_ +=
          std::string("<th scope=\"col\"") + (left ? " class=\"left\">" : ">") + escaped(title.substr(left)) + "</th>";
    }
    html_ += "</tr></thead><tbody>";
  }
  void add(const std::vector<std::string>& cells) {
    html_ += "<tr>";
    for (size_t i = 0; i < cells.size(); ++i)
      html_ += std::string(left_[i] ? "<td class=\"left\">" : "<td>") + cells[i] + "</td>";
    html_ += "</tr>";
    ++rows_;
  }
  bool empty() const { return rows_ == 0; }
  std::string html() const { return html_ + "</tbody></table></div>\n"; }

 private:
  std::string html_;
  std::vector<bool> left_;
  size_t rows_ = 0;
};

std::string section(const char* id, const std::string& title, const std::string& what, const std::string& inner) {
  return std::string("<section id=\"") + id + "\"><h2>" + escaped(title) + "</h2>" +
         (what.empty() ? "" : "<p>" + escaped(what) + "</p>") + "<div class=\"card\">" + inner + "</div></section>\n";
}

std::string tile(const std::string& value, const std::string& title) {
  return "<div class=\"tile\"><b>" + escaped(value) + "</b><span>" + escaped(title) + "</span></div>";
}

std::string end_text(const std::string& end) {
  if (end == "process ended") return "until the process ended";
  if (end == "interrupted") return "until it was interrupted";
  return "";
}

std::string head_html(const Json& data) {
  const Json& process = data.at("process");
  const Json& recording = data.at("recording");
  const uint64_t from = number_of(recording, "from_ms");
  const uint64_t to = number_of(recording, "to_ms");
  const std::string end = end_text(text_of(recording, "end"));
  std::string options;
  for (const auto& [name, value] : process.at("options").items())
    options += (options.empty() ? "" : ", ") + name + "=" + value.get<std::string>();
  return "<h1>" + escaped(text_of(process, "program")) + " <small>pid " + std::to_string(number_of(process, "pid")) +
         "</small></h1><p class=\"about\">on poolmalloc " + escaped(text_of(process, "version")) + ", " +
         escaped(text_of(process, "mode")) + " magazines, " + escaped(text_of(process, "fit")) +
         " fit. Running since " + escaped(time_text(number_of(process, "started"))) + ". Watched from <time>" +
         escaped(time_text(from / 1000)) + "</time> for " + duration_text((to - from + 500) / 1000) +
         (end.empty() ? "" : ", " + end) + ": " + grouped_text(number_of(recording, "samples")) +
         " samples. Options: " + escaped(options.empty() ? "all as by default" : options) + ".</p>\n";
}

std::string tiles_html(const Json& data) {
  const Json& s = data.at("statistics");
  const uint64_t limit = number_of(s, "limit_bytes");
  uint64_t most = 0;
  for (const Json& value : data.at("timeline").at("resident_bytes")) most = std::max(most, value.get<uint64_t>());
  const uint64_t to_limit = number_of(s, "seconds_to_limit");
  return "<div class=\"tiles\">" + tile(bytes_of(s, "live_bytes"), "live at the end") +
         tile(bytes_of(s, "resident_bytes"), "resident at the end (RSS)") + tile(bytes_text(most), "highest RSS seen") +
         tile(limit == 0 ? "none" : percent_text(number_of(s, "usage_bytes"), limit),
              limit == 0 ? "limit" : "of the limit of " + bytes_text(limit)) +
         tile(limit == 0 || to_limit == kNotInSight ? "not in sight" : duration_text(to_limit), "until the limit") +
         tile(level_name(number_of(s, "pressure_level")), "pressure at the end") +
         tile(number_of(s, "forecasts_judged") == 0 ? "–" : percent_text(number_of(s, "forecast_coverage"), 1000),
              "of values inside the forecast's 90 % band") +
         "</div>\n";
}

const char* grade(uint64_t points) { return points >= 85 ? "good" : points >= 60 ? "fair" : "poor"; }

std::string health_html(const Json& data) {
  const Json& health = data.at("health");
  const uint64_t points = number_of(health, "points");
  std::string html = "<div class=\"health " + std::string(grade(points)) + "\"><div class=\"score\"><b id=\"score\">" +
                     std::to_string(points) + "</b><span>of 100 points</span></div>";
  Table table("deductions", {"Points", "<Taken off because"});
  for (const Json& d : health.at("deductions"))
    table.add({"−" + std::to_string(number_of(d, "points")), escaped(text_of(d, "why"))});
  return html + (table.empty() ? "<p>Nothing was taken off.</p>" : table.html()) + "</div>";
}

std::string timeline_html(const Json& data) {
  const Json& timeline = data.at("timeline");
  const size_t count = timeline.at("time_ms").size();
  Table table("timeline-table",
              {"<Time", "Live", "RSS", "Dirty", "Usage", "Limit", "Forecast for 60 s later", "90 % band", "<Pressure"});
  const size_t rows = std::min(count, kTimelineRows);
  for (size_t row = 0; row < rows; ++row) {
    const size_t i = rows == 1 ? count - 1 : row * (count - 1) / (rows - 1);
    const auto at = [&](const char* name) { return timeline.at(name).at(i).get<uint64_t>(); };
    const bool told = at("forecasts_judged") > 0;
    const bool limited = at("limit_bytes") > 0;
    table.add({escaped(time_of(at("time_ms"))), bytes_text(at("live_bytes")), bytes_text(at("resident_bytes")),
               bytes_text(at("dirty_bytes")), limited ? bytes_text(at("usage_bytes")) : "–",
               limited ? bytes_text(at("limit_bytes")) : "–", told ? bytes_text(at("forecast_bytes")) : "–",
               told ? bytes_text(at("forecast_low_bytes")) + " to " + bytes_text(at("forecast_high_bytes")) : "–",
               level_name(at("pressure_level"))});
  }
  return "<div id=\"timeline-chart\" class=\"chart\"></div><p id=\"timeline-mark\" class=\"read\"></p>"
         "<details><summary>As a table</summary>" +
         table.html() + "</details>";
}

std::string event_text(const Json& event) {
  if (event.contains("from") && event.contains("to"))
    return "pressure: " + text_of(event, "from") + " to " + text_of(event, "to");
  return text_of(event, "kind") + (event.contains("reason") ? ": " + replaced(text_of(event, "reason"), '_', ' ') : "");
}

std::string events_html(const Json& data) {
  const Json& events = data.at("events");
  Table table("events-table", {"<Time", "<What", "Bytes"});
  const size_t shown = std::min(events.size(), kEventRows);
  for (size_t i = 0; i < shown; ++i) {
    const Json& event = events.at(events.size() - 1 - i);
    const uint64_t bytes = number_of(event, "bytes");
    table.add({escaped(time_of(number_of(event, "time_ms"))), escaped(event_text(event)),
               bytes > 0 ? bytes_text(bytes) : "–"});
  }
  if (table.empty()) return "<p>Nothing happened.</p>";
  std::string left_out;
  if (events.size() > shown) left_out = "<p>" + grouped_text(events.size() - shown) + " earlier ones are left out.</p>";
  if (data.at("events_missed").get<bool>()) {
    left_out += "<p>More happened between two looks than a process keeps (" + std::to_string(kMaxEvents) +
                " events): some are missing.</p>";
  }
  return table.html() + left_out;
}

std::string classes_html(const Json& data) {
  const Json& s = data.at("statistics");
  const double live_bytes = std::max(1.0, s.at("live_bytes").get<double>());
  Table table("classes-table", {"Size", "Objects", "Live", "Share of live", "", "Slots", "Occupied", "Free, cached",
                                "Served by a magazine"});
  const auto share_cells = [&](uint64_t live) {
    return std::pair{percent_text(live, static_cast<uint64_t>(live_bytes)),
                     bar(static_cast<double>(live) / live_bytes)};
  };
  for (const Json& c : s.at("classes")) {
    const uint64_t size = number_of(c, "size");
    const uint64_t objects = number_of(c, "live_objects");
    const uint64_t slots = number_of(c, "slot_capacity");
    if (slots == 0) continue;  // nothing of it is in memory
    const uint64_t cached = (number_of(c, "magazine_objects") + number_of(c, "depot_objects")) * size;
    const uint64_t hits = number_of(c, "hits");
    const auto [share, bar_html] = share_cells(objects * size);
    table.add({grouped_text(size), grouped_text(objects), bytes_text(objects * size), share, bar_html,
               grouped_text(slots), percent_text(objects, slots), bytes_text(cached),
               percent_text(hits, hits + number_of(c, "misses"))});
  }
  const auto [share, bar_html] = share_cells(number_of(s, "live_large_bytes"));
  table.add({"larger", grouped_text(number_of(s, "large_objects")), bytes_of(s, "live_large_bytes"), share, bar_html,
             "–", "–", "–", "–"});
  return table.html();
}

std::string resident_html(const Json& data) {
  const uint64_t whole = number_of(data, "resident_bytes");
  Table table("resident-table", {"<Part", "Bytes", "Share", "", "<Meaning"});
  for (const Json& part : data.at("resident")) {
    const uint64_t bytes = number_of(part, "bytes");
    table.add({escaped(text_of(part, "name")), bytes_text(bytes), percent_text(bytes, whole),
               bar(static_cast<double>(bytes) / std::max(1.0, static_cast<double>(whole))),
               escaped(text_of(part, "meaning"))});
  }
  return table.html();
}

std::string findings_html(const Json& data) {
  Table table("findings-table", {"<Severity", "<About", "<What was found", "<What to do"});
  for (const char* severity : {"problem", "warning", "note", "fine"}) {
    for (const Json& f : data.at("findings")) {
      if (text_of(f, "severity") != severity) continue;
      table.add({std::string("<span class=\"mark ") + severity + "\">" + severity + "</span>",
                 escaped(text_of(f, "about")), escaped(text_of(f, "what")), escaped(text_of(f, "remedy"))});
    }
  }
  return table.html();
}

std::string advice_html(const Json& data) {
  Table table("advice-table", {"<Setting", "<Why", "<What it costs"});
  for (const Json& a : data.at("advice")) {
    table.add({"<code>" + escaped(text_of(a, "variable") + "=" + text_of(a, "value")) + "</code>",
               escaped(text_of(a, "reason")), escaped(text_of(a, "cost"))});
  }
  return table.empty()
             ? "<p>Nothing to advise: no setting would serve clearly better, or too little happened to tell.</p>"
             : table.html();
}

std::string profile_html(const Json& profile) {
  std::string buttons;
  for (const Json& weight : profile.at("weights")) {
    const std::string name = weight.get<std::string>();
    const char* const title = name == "inuse"   ? "in use"
                              : name == "alloc" ? "allocated"
                              : name == "peak"  ? "at the peak"
                                                : "temporary";
    buttons += "<button type=\"button\" data-weight=\"" + escaped(name) + "\">" + title + "</button>";
  }
  Table table("functions-table", {"<Function", "In use", "with callees", "Allocated", "At the peak", "Temporary"});
  const auto bytes = [](const Json& list, size_t i) {
    return bytes_text(static_cast<uint64_t>(std::max(0.0, list.at(i).get<double>())));
  };
  for (const Json& f : profile.at("functions")) {
    table.add({escaped(text_of(f, "name")), bytes(f.at("flat"), 0), bytes(f.at("cumulative"), 0),
               bytes(f.at("flat"), 1), bytes(f.at("flat"), 2), bytes(f.at("flat"), 3)});
  }
  return "<div class=\"buttons\" id=\"flame-weights\">" + buttons +
         "<button type=\"button\" id=\"flame-reset\">whole</button>"
         "<input id=\"flame-search\" type=\"search\" placeholder=\"search\" aria-label=\"Search for a function\"></div>"
         "<div id=\"flame\"><div id=\"flame-graph\"></div></div><p id=\"flame-mark\" "
         "class=\"read\"></p><details><summary>As a "
         "table</summary>" +
         table.html() + "</details>";
}

std::string profile_text(const Json& profile) {
  const uint64_t dropped = number_of(profile, "dropped");
  return "Heap profile of " + text_of(profile, "executable") + ", taken " +
         time_text(static_cast<uint64_t>(std::max<int64_t>(0, profile.at("taken_ms").get<int64_t>())) / 1000) +
         ", a sample each " + bytes_text(number_of(profile, "period")) +
         (dropped > 0 ? ", " + grouped_text(dropped) + " samples were not recorded" : "") +
         ". Callers stand above what they call. A click or Enter shows a function alone.";
}

std::string comparison_html(const Json& comparison) {
  Table summary("comparison-table",
                {"<Allocator", "Peak memory", "", "Average memory", "CPU time", "", "Wall time", "Workloads"});
  double most_peak = 1;
  double most_cpu = 1;
  for (const Json& line : comparison.at("summary")) {
    if (line.at("peak").is_number()) most_peak = std::max(most_peak, line.at("peak").get<double>());
    if (line.at("cpu").is_number()) most_cpu = std::max(most_cpu, line.at("cpu").get<double>());
  }
  const auto bar_of = [](const Json& value, double most) {
    return value.is_number() ? bar(value.get<double>() / most) : std::string();
  };
  std::vector<std::string> allocators;
  for (const Json& line : comparison.at("summary")) {
    allocators.push_back(text_of(line, "allocator"));
    summary.add({escaped(allocators.back()), ratio_text(line.at("peak")), bar_of(line.at("peak"), most_peak),
                 ratio_text(line.at("average")), ratio_text(line.at("cpu")), bar_of(line.at("cpu"), most_cpu),
                 ratio_text(line.at("wall")), grouped_text(number_of(line, "rows"))});
  }
  std::vector<std::string> titles = {"<Peak memory of"};
  titles.insert(titles.end(), allocators.begin(), allocators.end());
  Table workloads("workloads-table", titles);
  for (const Json& workload : comparison.at("workloads")) {
    std::vector<std::string> cells = {escaped(text_of(workload, "name"))};
    for (const std::string& allocator : allocators) {
      const Json& peaks = workload.at("peak_bytes");
      cells.push_back(peaks.contains(allocator) ? bytes_text(peaks.at(allocator).get<uint64_t>()) : "–");
    }
    workloads.add(cells);
  }
  return summary.html() + "<details><summary>Each workload</summary>" + workloads.html() + "</details>";
}

std::string body_html(const Json& data) {
  std::string html = head_html(data) + section("health", "Health", "", health_html(data)) + tiles_html(data);
  html +=
      section("timeline", "Memory over time",
              "The forecast stands where it was for: what was expected a minute before, in the band nine times in ten.",
              timeline_html(data));
  html += section("resident", "Where the resident memory is", "", resident_html(data));
  html +=
      section("heat", "Size classes over time", "",
              "<div class=\"buttons\" id=\"heat-kinds\"><button type=\"button\" data-kind=\"live\">live bytes</button>"
              "<button type=\"button\" data-kind=\"occupied\">occupied slots</button></div>"
              "<div id=\"heat-map\" class=\"chart\"></div><p id=\"heat-mark\" class=\"read\"></p>"
              "<details open><summary>The classes at the end, as a table</summary>" +
                  classes_html(data) + "</details>");
  html += section("findings", "Findings", "What poolmalloc doctor said of the machine and the process.",
                  findings_html(data));
  html += section("advice", "Advice", "Settings that poolmalloc advise recommends.", advice_html(data));
  if (data.contains("profile"))
    html += section("profile", "Which code holds the memory", profile_text(data.at("profile")),
                    profile_html(data.at("profile")));
  if (data.contains("comparison")) {
    const Json& comparison = data.at("comparison");
    html +=
        section("comparison", "Beside other allocators",
                text_of(comparison, "title") + ", " + text_of(comparison, "date") +
                    ". Not this process: a recorded run of scripts/bench. Numbers are geometric means of the ratio to "
                    "the best allocator of each workload; 1.00 is the best in all. " +
                    text_of(comparison, "machine"),
                comparison_html(comparison));
  }
  return html + section("events", "Events", "The latest first.", events_html(data));
}

// JSON inside of a script element: '<' is all that could end it, and JSON has another way to write that.
std::string script_json(const Json& data) {
  const std::string text = data.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

// In one pass over the template, so that a mark inside of what is put in stays what it is.
std::string filled(std::string_view page, const std::vector<std::pair<std::string_view, std::string>>& parts) {
  std::string out;
  while (!page.empty()) {
    size_t next = page.size();
    const std::pair<std::string_view, std::string>* found = nullptr;
    for (const auto& part : parts) {
      const size_t place = page.find(part.first);
      if (place < next) {
        next = place;
        found = &part;
      }
    }
    out += page.substr(0, next);
    page.remove_prefix(next);
    if (found == nullptr) break;
    out += found->second;
    page.remove_prefix(found->first.size());
  }
  return out;
}

// JSON replaces what is no UTF-8; the page must not differ, so everything is taken from the cleaned data.
Json cleaned(const Json& data) { return Json::parse(data.dump(-1, ' ', false, Json::error_handler_t::replace)); }

}  // namespace

std::string report_page(const Json& data) {
  const Json clean = cleaned(data);
  const Json& process = clean.at("process");
  return filled(kReportPage, {{"@UPLOT_LICENCE@", kUplotLicence},
                              {"@UPLOT_STYLE@", kUplotStyle},
                              {"@UPLOT_SCRIPT@", kUplotScript},
                              {"@TITLE@", escaped(text_of(process, "program")) + " on poolmalloc"},
                              {"@BODY@", body_html(clean)},
                              {"@DATA@", script_json(clean)}});
}

}  // namespace pm
