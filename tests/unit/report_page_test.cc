// The report's data and page, made of a recording that holds all that could break a page.
#include "preload/launcher/report_page.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "preload/launcher/comparison.h"
#include "preload/launcher/flame.h"
#include "preload/launcher/report_data.h"
#include "tests/catch.h"

namespace {

using namespace pm;
using Json = nlohmann::ordered_json;

constexpr char kNasty[] = "</script><script>alert(1)</script><!-- \" ' & @DATA@ @BODY@ \xc3\xa4";

Recording nasty_recording(size_t samples) {
  Recording r;
  r.about = {{"pid", 42},      {"program", kNasty}, {"version", kNasty}, {"library", kNasty},
             {"mode", kNasty}, {"fit", kNasty},     {"started", 1},      {"options", {{kNasty, kNasty}}}};
  r.every_ms = 500;
  r.end = kNasty;
  for (size_t i = 0; i < samples; ++i) {
    Sample sample = {};
    sample.time_ms = 1'700'000'000'000 + i * 500;
    Snapshot& s = sample.snapshot;
    s.resident_bytes = i == 7 ? 1 << 30 : 1 << 20;
    s.live_bytes = 4096 + i;
    s.class_count = 1;
    s.classes[0].size = 64;
    s.classes[0].live_objects = 10;
    s.classes[0].slot_capacity = 40;
    r.samples.push_back(sample);
  }
  r.events.push_back({{"time_ms", 1'700'000'000'100}, {"kind", kNasty}, {"bytes", 1}, {"reason", kNasty}});
  r.examination.findings = {{Severity::problem, kNasty, kNasty, kNasty}};
  r.examination.advices = {{kNasty, kNasty, kNasty, kNasty}};
  r.examination.shares = {{kNasty, 1, kNasty}};
  return r;
}

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
  return found;
}

StackProfile profile_of(const std::string& outer, const std::string& inner) {
  StackProfile p;
  p.executable = kNasty;
  p.period = 1;
  p.functions = {{outer, outer, "", 0}, {inner, inner, "", 0}, {"tiny", "tiny", "", 0}};
  for (uint32_t i = 0; i < 3; ++i) p.locations.push_back({100 + i, kNoMapping, true, false, {{i, 0}}});
  const auto stack = [&](std::vector<uint32_t> locations, double in_use, double allocated) {
    Stack s = {std::move(locations), 64, {}};
    s.amounts.of[0].bytes.value = in_use;
    s.amounts.of[1].bytes.value = allocated;
    p.stacks.push_back(s);
  };
  stack({1, 0}, 3000, 9000);
  stack({0}, 1000, 1000);
  stack({2, 0}, 1, 1);
  return p;
}

}  // namespace

TEST_CASE("nothing that a process or a function is called can leave its place in the page") {
  Json data = report_json(nasty_recording(10));
  data["profile"] = flame_json(profile_of(kNasty, kNasty));
  data["comparison"] = {
      {"title", kNasty},
      {"date", kNasty},
      {"machine", kNasty},
      {"summary",
       {{{"allocator", kNasty}, {"rows", 1}, {"cpu", 1.5}, {"wall", nullptr}, {"peak", 2.0}, {"average", 1.0}}}},
      {"workloads",
       {{{"name", kNasty}, {"question", kNasty}, {"peak_bytes", {{kNasty, 5}}}, {"cpu_seconds", {{kNasty, 1.0}}}}}}};
  const std::string page = report_page(data);
  CHECK(count(page, "alert(1)</script>") == 0);
  CHECK(count(page, "<script>alert") == 0);
  CHECK(count(page, "<script") == 3);  // the data, the chart library, the page's own
  CHECK(count(page, "</script") == 3);
  // The marks of the template that stand in the names stayed where they were.
  CHECK(count(page, "<main>") == 1);
  CHECK(count(page, "id=\"data\"") == 1);
  // What was put into the script element is the data.
  const std::string open = "<script id=\"data\" type=\"application/json\">";
  const size_t begin = page.find(open) + open.size();
  const Json back = Json::parse(page.substr(begin, page.find("</script>", begin) - begin));
  CHECK(back == data);
}

TEST_CASE("the page asks for nothing from anywhere") {
  const std::string page = report_page(report_json(nasty_recording(3)));
  CHECK(page.find("default-src 'none'") != std::string::npos);
  for (const char* way :
       {"src=\"", "src='", "@import", "fetch(", "XMLHttpRequest", "WebSocket", "url(", "<link rel=\"stylesheet"})
    CHECK(count(page, way) == 0);
}

TEST_CASE("text that is no UTF-8 does not stop the page") {
  Recording r = nasty_recording(2);
  r.about["program"] = "a\xff\xfe";
  const std::string page = report_page(report_json(r));
  CHECK(page.find("a\xef\xbf\xbd") != std::string::npos);
  CHECK(page.find('\xff') == std::string::npos);
}

TEST_CASE("charts get so many points and no more; the peak and both ends are among them") {
  const Recording r = nasty_recording(3000);
  const Json data = report_json(r);
  const Json& timeline = data["timeline"];
  CHECK(timeline["time_ms"].size() == kMostPoints);
  CHECK(timeline["live_bytes"].size() == kMostPoints);
  CHECK(timeline["time_ms"].front() == r.samples.front().time_ms);
  CHECK(timeline["time_ms"].back() == r.samples.back().time_ms);
  CHECK(std::find(timeline["resident_bytes"].begin(), timeline["resident_bytes"].end(), 1 << 30) !=
        timeline["resident_bytes"].end());
  CHECK(data["classes_over_time"]["time_ms"].size() == kMostColumns);
  CHECK(data["classes_over_time"]["classes"][0]["occupied_permille"].size() == kMostColumns);
  CHECK(data["classes_over_time"]["classes"][0]["occupied_permille"][3] == 250);
  CHECK(data["classes_over_time"]["classes"][0]["live_bytes"][3] == 640);
  CHECK(data["statistics"]["live_bytes"] == r.samples.back().snapshot.live_bytes);
}

TEST_CASE("a single sample is a report as well") {
  const std::string page = report_page(report_json(nasty_recording(1)));
  CHECK(page.find("timeline-table") != std::string::npos);
}

TEST_CASE("the flame graph's tree sums its stacks and leaves out what nobody could see") {
  const Json flame = flame_json(profile_of("main", "make"));
  const auto name = [&](const Json& node) { return flame["names"][node[0].get<size_t>()].get<std::string>(); };
  const Json& root = flame["tree"];
  CHECK(root[1] == Json({4001, 10001, 0, 0}));
  REQUIRE(root[2].size() == 1);
  const Json& main = root[2][0];
  CHECK(name(main) == "main");
  CHECK(main[1] == Json({4001, 10001, 0, 0}));
  REQUIRE(main[2].size() == 1);  // tiny is a four-thousandth
  CHECK(name(main[2][0]) == "make");
  CHECK(main[2][0][1] == Json({3000, 9000, 0, 0}));
  REQUIRE(flame["functions"].size() == 3);
  CHECK(flame["functions"][0]["name"] == "make");
  CHECK(flame["functions"][1]["name"] == "main");
  CHECK(flame["functions"][1]["flat"][0] == 1000);
  CHECK(flame["functions"][1]["cumulative"][0] == 4001);
}

TEST_CASE("results of the bench are read, and what is none is refused") {
  Json comparison;
  std::string error;
  const std::string good = R"({"about": {"title": "t", "date": "d", "machine": {"cpus": 2}},
    "summary": [{"allocator": "a", "rows": 1, "cpu": 1.0, "wall": 1.1, "peak_kib": null, "average_kib": 2.5}],
    "rows": [{"name": "n", "question": "q", "medians": {"a": {"peak_kib": 2.5, "cpu": 0.5}}}]})";
  REQUIRE(read_comparison(good, comparison, error));
  CHECK(comparison["summary"][0]["peak"].is_null());
  CHECK(comparison["summary"][0]["average"] == 2.5);
  CHECK(comparison["workloads"][0]["peak_bytes"]["a"] == 2560);
  CHECK(comparison["machine"] == "cpus 2");
  for (const char* text : {"", "[]", "{}", "{\"rows\": []}", "nonsense"}) {
    CHECK_FALSE(read_comparison(text, comparison, error));
    CHECK(error == "is not what scripts/bench --json writes");
  }
  CHECK_FALSE(read_comparison(R"({"summary": [{"allocator": 5}], "rows": []})", comparison, error));
  CHECK(error.substr(0, 10) == "is damaged");
}
