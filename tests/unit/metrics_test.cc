#include "metrics/metrics.h"

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace {

using pm::kClassMetricInfo;
using pm::kMetricInfo;
using pm::Snapshot;
using pm::TextWriter;

void append(void* context, const char* data, size_t size) { static_cast<std::string*>(context)->append(data, size); }

std::string written(void (*write)(const Snapshot&, TextWriter&), const Snapshot& snapshot) {
  std::string collected;
  char buffer[100];
  TextWriter out(buffer, append, &collected);
  write(snapshot, out);
  return collected;
}

// Every field its own value; three classes, the middle one never used.
std::unique_ptr<Snapshot> example() {
  auto snapshot = std::make_unique<Snapshot>();
  uint64_t value = 1'000'000;
  for (const auto& info : kMetricInfo) (*snapshot).*info.value = ++value;
  snapshot->committed_bytes = UINT64_MAX;
  std::string("rseq").copy(snapshot->mode, sizeof snapshot->mode);
  std::string("best").copy(snapshot->fit, sizeof snapshot->fit);
  snapshot->class_count = 3;
  snapshot->classes[0].size = 16;
  snapshot->classes[1].size = 32;
  snapshot->classes[2].size = 32768;
  for (const auto& info : kClassMetricInfo) {
    snapshot->classes[0].*info.value = ++value;
    snapshot->classes[2].*info.value = ++value;
  }
  return snapshot;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST_CASE("names are unique") {
  std::set<std::string> names;
  for (const auto& info : kMetricInfo) CHECK(names.insert(info.name).second);
  std::set<std::string> class_names;
  for (const auto& info : kClassMetricInfo) CHECK(class_names.insert(info.name).second);
}

TEST_CASE("a metric is found by its name") {
  const auto snapshot = example();
  uint64_t value = 0;
  CHECK(pm::find_metric(*snapshot, "committed_bytes", value));
  CHECK(value == UINT64_MAX);
  CHECK_FALSE(pm::find_metric(*snapshot, "committed", value));
  CHECK_FALSE(pm::find_metric(*snapshot, "", value));
}

TEST_CASE("JSON parses and holds every metric") {
  const auto snapshot = example();
  const auto json = nlohmann::json::parse(written(pm::write_json, *snapshot));
  CHECK(json.at("mode") == "rseq");
  CHECK(json.at("fit") == "best");
  for (const auto& info : kMetricInfo) {
    INFO(info.name);
    CHECK(json.at(info.name).get<uint64_t>() == (*snapshot).*info.value);
  }
  REQUIRE(json.at("classes").size() == 2);
  CHECK(json.at("classes")[1].at("size") == 32768);
  for (const auto& info : kClassMetricInfo) {
    CHECK(json.at("classes")[0].at(info.name).get<uint64_t>() == snapshot->classes[0].*info.value);
    CHECK(json.at("classes")[1].at(info.name).get<uint64_t>() == snapshot->classes[2].*info.value);
  }
  CHECK(json.size() == std::size(kMetricInfo) + 3);
}

TEST_CASE("JSON of an empty snapshot parses") {
  const auto snapshot = std::make_unique<Snapshot>();
  const auto json = nlohmann::json::parse(written(pm::write_json, *snapshot));
  CHECK(json.at("classes").empty());
  CHECK(json.at("live_bytes") == 0);
}

TEST_CASE("OpenMetrics keeps the rules of the format") {
  const auto snapshot = example();
  const std::string text = written(pm::write_openmetrics, *snapshot);
  REQUIRE(text.size() > 6);
  CHECK(text.substr(text.size() - 7) == "\n# EOF\n");

  const std::map<std::string, std::string> suffix = {{"gauge", ""}, {"counter", "_total"}, {"info", "_info"}};
  std::string family;
  std::string kind;
  std::set<std::string> families;
  std::set<std::string> samples;
  const auto lines = lines_of(text);
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    INFO(lines[i]);
    std::istringstream words(lines[i]);
    std::string first, second, third, rest;
    words >> first >> second;
    if (first == "#") {
      std::string name;
      words >> name >> third;
      std::getline(words, rest);
      if (second == "TYPE") {
        family = name;
        kind = third;
        CHECK(suffix.count(kind) == 1);
        CHECK(rest.empty());
        CHECK(families.insert(family).second);  // a family's lines stand together
        CHECK(family.rfind("poolmalloc_", 0) == 0);
        CHECK(family.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string::npos);
        CHECK(family.find("_total") == std::string::npos);
      } else if (second == "UNIT") {
        CHECK(name == family);
        CHECK((third == "bytes" || third == "seconds"));
        CHECK(rest.empty());
        CHECK(family.substr(family.size() - third.size() - 1) == "_" + third);
      } else {
        CHECK(second == "HELP");
        CHECK(name == family);
        CHECK(lines[i].back() == '.');
        CHECK(lines[i].find_first_of("\\\"") == std::string::npos);
      }
    } else {
      CHECK(words.eof());
      CHECK(second.find_first_not_of("0123456789") == (second.find('.')));
      const size_t brace = first.find('{');
      CHECK(first.substr(0, brace) == family + suffix.at(kind));
      if (brace != std::string::npos) {
        const std::string labels = first.substr(brace);
        const size_t quote = labels.find('"');
        const std::string label = labels.substr(0, quote);
        CHECK((label == "{class=" || label == "{mode=" || label == "{fit="));
        CHECK(labels.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789", quote + 1) == labels.size() - 2);
        CHECK(labels.substr(labels.size() - 2) == "\"}");
      }
      CHECK(samples.insert(first).second);
    }
  }
  CHECK(families.size() == 2 + std::size(kMetricInfo) + std::size(kClassMetricInfo));
  CHECK(samples.size() == 2 + std::size(kMetricInfo) + 2 * std::size(kClassMetricInfo));
  CHECK(samples.count("poolmalloc_mode_info{mode=\"rseq\"}") == 1);
  CHECK(samples.count("poolmalloc_fit_info{fit=\"best\"}") == 1);
  CHECK(samples.count("poolmalloc_class_live_objects{class=\"32768\"}") == 1);
  CHECK(samples.count("poolmalloc_class_hits_total{class=\"16\"}") == 1);
  CHECK(text.find("\npoolmalloc_committed_bytes 18446744073709551615\n") != std::string::npos);
  CHECK(text.find("\n# UNIT poolmalloc_decommitted_bytes bytes\n") != std::string::npos);
}

TEST_CASE("OpenMetrics has seconds where the table has nanoseconds") {
  const auto snapshot = example();
  snapshot->worker_cpu_ns = 12'000'000'345;
  snapshot->refault_price_ns = 90'100;
  const std::string text = written(pm::write_openmetrics, *snapshot);
  CHECK(text.find("\n# TYPE poolmalloc_worker_cpu_seconds counter\n"
                  "# UNIT poolmalloc_worker_cpu_seconds seconds\n"
                  "# HELP poolmalloc_worker_cpu_seconds ") != std::string::npos);
  CHECK(text.find("\npoolmalloc_worker_cpu_seconds_total 12.000000345\n") != std::string::npos);
  CHECK(text.find("\npoolmalloc_refault_price_seconds 0.000090100\n") != std::string::npos);
  CHECK(text.find("_ns") == std::string::npos);
}

TEST_CASE("OpenMetrics of several processes names each family once") {
  const auto first = example();
  const auto second = example();
  second->live_bytes = 77;
  const pm::LabelledSnapshot both[] = {{R"(pid="1",program="a")", first.get()},
                                       {R"(pid="2",program="b")", second.get()}};
  std::string text;
  char buffer[100];
  TextWriter out(buffer, append, &text);
  pm::write_openmetrics_families(both, 2, out);
  out.flush();
  std::set<std::string> families;
  std::set<std::string> samples;
  for (const std::string& line : lines_of(text)) {
    INFO(line);
    if (line.rfind("# TYPE ", 0) == 0) {
      CHECK(families.insert(line).second);
    } else if (line.front() != '#') {
      CHECK(samples.insert(line.substr(0, line.rfind(' '))).second);
    }
  }
  CHECK(families.size() == 2 + std::size(kMetricInfo) + std::size(kClassMetricInfo));
  CHECK(samples.size() == 2 * (2 + std::size(kMetricInfo) + 2 * std::size(kClassMetricInfo)));
  CHECK(samples.count(R"(poolmalloc_mode_info{pid="1",program="a",mode="rseq"})") == 1);
  CHECK(samples.count(R"(poolmalloc_class_live_objects{pid="2",program="b",class="16"})") == 1);
  CHECK(text.find("\npoolmalloc_live_bytes{pid=\"2\",program=\"b\"} 77\n") != std::string::npos);
  CHECK(text.find("# EOF") == std::string::npos);

  text.clear();
  pm::write_openmetrics_families(nullptr, 0, out);
  out.flush();
  for (const std::string& line : lines_of(text)) CHECK(line.front() == '#');
}

TEST_CASE("the text report is for people") {
  const auto snapshot = example();
  const std::string text = written(pm::write_text, *snapshot);
  CHECK(text.rfind("poolmalloc statistics (mode: rseq, fit: best)\n", 0) == 0);
  CHECK(text.find("\nPages\n  committed_bytes                   16.0 EiB  Memory that is ours to touch.\n") !=
        std::string::npos);
  for (const auto& info : kMetricInfo) CHECK(text.find(std::string("  ") + info.name + " ") != std::string::npos);
  CHECK(text.find("\n   32768") != std::string::npos);
  CHECK(text.find("\n      32 ") == std::string::npos);  // never used
  for (const std::string& line : lines_of(text)) CHECK(line.size() <= 125);
}

}  // namespace
