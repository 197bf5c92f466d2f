#include "preload/launcher/exporter.h"

#include <time.h>

#include <cstdio>
#include <sstream>
#include <vector>

#include "base/text.h"
#include "metrics/metrics.h"
#include "poolmalloc/poolmalloc.h"

namespace pm {
namespace {

std::string labels_of(const SurveyedProcess& process) {
  std::string labels = "pid=\"" + std::to_string(process.target.pid) + "\"";
  labels += ",program=" + quoted_label(process.target.program);
  if (!process.cgroup.empty()) labels += ",cgroup=" + quoted_label(process.cgroup);
  return labels;
}

std::string decimal(double value) {
  char buffer[64];
  return {buffer, static_cast<size_t>(std::snprintf(buffer, sizeof buffer, "%.6f", value))};
}

void family(std::string& out, const std::string& name, const char* type, const char* unit, const char* help) {
  out += "# TYPE poolmalloc_" + name + " " + type + "\n";
  if (unit[0] != '\0') out += "# UNIT poolmalloc_" + name + " " + unit + "\n";
  out += "# HELP poolmalloc_" + name + " " + help + "\n";
}

void sample(std::string& out, const std::string& name, const std::string& labels, const std::string& value) {
  out += "poolmalloc_" + name + (labels.empty() ? "" : "{" + labels + "}") + " " + value + "\n";
}

double page_age(const PageStamp& stamp) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(now.tv_nsec);
  return ns > stamp.written_ns ? static_cast<double>(ns - stamp.written_ns) / 1e9 : 0;
}

// What is known of a process from outside.
void write_processes(const Survey& survey, const std::vector<std::string>& labels, std::string& out) {
  const auto each = [&](auto&& write) {
    for (size_t i = 0; i < survey.processes.size(); ++i) write(survey.processes[i], labels[i]);
  };
  family(out, "up", "gauge", "",
         "1: the process runs on poolmalloc and its statistics were read; 0: they could not be.");
  each([&](const SurveyedProcess& p, const std::string& l) { sample(out, "up", l, p.page != nullptr ? "1" : "0"); });
  family(out, "process", "info", "", "What runs there, and whether its statistics could be read.");
  each([&](const SurveyedProcess& p, const std::string& l) {
    sample(out, "process_info",
           l + ",state=\"" + state_name(p) + "\",version=" + quoted_label(p.target.version) +
               ",cgroup_path=" + quoted_label(p.cgroup_path),
           "1");
  });
  family(out, "start_time_seconds", "gauge", "seconds", "When the process began, in seconds since 1970.");
  each([&](const SurveyedProcess& p, const std::string& l) {
    sample(out, "start_time_seconds", l, std::to_string(p.started_unix_s));
  });
  family(out, "statistics_age_seconds", "gauge", "seconds", "How long ago the process wrote its statistics.");
  each([&](const SurveyedProcess& p, const std::string& l) {
    if (p.page != nullptr) sample(out, "statistics_age_seconds", l, decimal(page_age(p.page->stamp)));
  });
}

void write_server(const Survey& survey, uint64_t scrapes, uint64_t max_mappings, std::string& out) {
  family(out, "serve_processes", "gauge", "",
         "Processes by what could be read of them; the forbidden ones may run on anything.");
  for (const char* state : {"read", "unpublished", "other_version", "stuck"}) {
    size_t count = 0;
    for (const SurveyedProcess& process : survey.processes) count += std::string(state) == state_name(process) ? 1 : 0;
    sample(out, "serve_processes", "state=\"" + std::string(state) + "\"", std::to_string(count));
  }
  sample(out, "serve_processes", "state=\"forbidden\"", std::to_string(survey.forbidden));
  sample(out, "serve_processes", "state=\"left_out\"", std::to_string(survey.left_out));
  family(out, "serve_max_mappings", "gauge", "", "Mappings that the kernel allows a process: vm.max_map_count.");
  if (max_mappings != 0) sample(out, "serve_max_mappings", "", std::to_string(max_mappings));
  family(out, "serve_survey_seconds", "gauge", "seconds", "How long finding and reading the processes took.");
  sample(out, "serve_survey_seconds", "", decimal(survey.seconds));
  family(out, "serve_scrapes", "counter", "", "Times these metrics were asked for.");
  sample(out, "serve_scrapes_total", "", std::to_string(scrapes));
  family(out, "serve_build", "info", "", "The command that serves this.");
  sample(out, "serve_build_info",
         "version=\"" + std::to_string(PM_VERSION_MAJOR) + "." + std::to_string(PM_VERSION_MINOR) + "." +
             std::to_string(PM_VERSION_PATCH) + "\"",
         "1");
}

}  // namespace

std::string openmetrics_of(const Survey& survey, uint64_t scrapes, uint64_t max_mappings) {
  std::vector<std::string> labels;
  for (const SurveyedProcess& process : survey.processes) labels.push_back(labels_of(process));
  std::vector<LabelledSnapshot> snapshots;
  for (size_t i = 0; i < labels.size(); ++i) {
    const SurveyedProcess& process = survey.processes[i];
    if (process.page != nullptr) snapshots.push_back({labels[i].c_str(), &process.page->snapshot});
  }
  std::string text;
  char buffer[4096];
  TextWriter out(
      buffer, [](void* to, const char* data, size_t size) { static_cast<std::string*>(to)->append(data, size); },
      &text);
  write_openmetrics_families(snapshots.data(), snapshots.size(), out);
  out.flush();
  write_processes(survey, labels, text);
  write_server(survey, scrapes, max_mappings, text);
  return text + "# EOF\n";
}

std::string plain_metrics(const std::string& openmetrics) {
  std::string out;
  out.reserve(openmetrics.size());
  std::string ending;  // of the family's samples
  std::istringstream lines(openmetrics);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("# TYPE ", 0) == 0) {
      const size_t space = line.rfind(' ');
      const std::string type = line.substr(space + 1);
      ending = type == "counter" ? "_total" : type == "info" ? "_info" : "";
      out += line.substr(0, space) + ending + " " + (type == "info" ? "gauge" : type) + "\n";
    } else if (line.rfind("# HELP ", 0) == 0) {
      const size_t space = line.find(' ', 7);
      out += line.substr(0, space) + ending + line.substr(space) + "\n";
    } else if (line.front() != '#') {
      out += line + "\n";
    }
  }
  return out;
}

bool wants_openmetrics(const std::string& accept) {
  if (accept.find("application/openmetrics-text") != std::string::npos) return true;
  return accept.find("text/") == std::string::npos;
}

}  // namespace pm
