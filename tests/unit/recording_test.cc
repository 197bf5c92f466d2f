// Recordings: what is written is read again, what is damaged is refused with a reason, and long ones stay bounded.
#include "preload/launcher/recording.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "tests/catch.h"

namespace {

using namespace pm;
using Json = nlohmann::ordered_json;

Recording small_one() {
  Recording r;
  r.about = {{"pid", 42},
             {"program", "a \"program\"\n</script>"},
             {"version", "9.8.7"},
             {"library", "/lib/x.so"},
             {"mode", "rseq"},
             {"fit", "best"},
             {"started", 1'700'000'000},
             {"options", {{"dirty_bytes", "64m"}}}};
  r.every_ms = 250;
  r.end = "interrupted";
  for (uint64_t i = 0; i < 3; ++i) {
    Sample sample = {};
    sample.time_ms = 1'700'000'000'000 + i * 250;
    sample.snapshot.live_bytes = 1000 * i;
    sample.snapshot.leak_growth_bytes = UINT64_MAX - i;
    sample.snapshot.class_count = 2;
    sample.snapshot.classes[0].size = 16;
    sample.snapshot.classes[1].size = 32;
    sample.snapshot.classes[1].slot_capacity = 128 + i;
    std::strcpy(sample.snapshot.mode, "rseq");
    r.samples.push_back(sample);
  }
  r.events.push_back({{"time_ms", 1'700'000'000'100}, {"kind", "decommit"}, {"bytes", 4096}, {"reason", "idle"}});
  r.events_missed = true;
  r.examination.findings = {{Severity::warning, "leak", "it grows", "look"}};
  r.examination.advices = {{"dirty_bytes", "128m", "because", "memory"}};
  r.examination.shares = {{"live objects", 77, "what is held"}};
  r.examination.resident_bytes = 99;
  return r;
}

std::string error_of(const std::string& text) {
  Recording recording;
  std::string error;
  return parse_recording(text, recording, error) ? "none" : error;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t place = text.find(from);
  REQUIRE(place != std::string::npos);
  return text.replace(place, from.size(), to);
}

}  // namespace

TEST_CASE("a recording comes back as it was written") {
  const Recording r = small_one();
  Recording back;
  std::string error;
  REQUIRE(parse_recording(write_recording(r, "1.2.3"), back, error));
  CHECK(back.about == r.about);
  CHECK(back.every_ms == 250);
  CHECK(back.end == "interrupted");
  CHECK(back.events == r.events);
  CHECK(back.events_missed);
  REQUIRE(back.samples.size() == 3);
  CHECK(back.samples[2].time_ms == r.samples[2].time_ms);
  for (const MetricInfo& metric : kMetricInfo) {
    INFO(metric.name);
    CHECK(back.samples[2].snapshot.*metric.value == r.samples[2].snapshot.*metric.value);
  }
  // A class that is not in use is left out.
  REQUIRE(back.samples[2].snapshot.class_count == 1);
  CHECK(back.samples[2].snapshot.classes[0].size == 32);
  CHECK(back.samples[2].snapshot.classes[0].slot_capacity == 130);
  CHECK(std::string(back.samples[2].snapshot.mode) == "rseq");
  CHECK(examination_json(back.examination) == examination_json(r.examination));
}

TEST_CASE("a recording that ends before its last line is cut off, wherever that is") {
  const std::string whole = write_recording(small_one(), "1.2.3");
  const size_t head = whole.find('\n');
  const size_t last = whole.rfind('\n', whole.size() - 2);
  for (const size_t length : {head + 1, head + 2, head + 100, last - 5, last + 1, last + 3, whole.size() - 3}) {
    INFO(length);
    CHECK(error_of(whole.substr(0, length)) == "is cut off: its last line is missing");
  }
  CHECK(error_of("") == "is empty");
  // Without its last line feed alone it is whole.
  CHECK(error_of(whole.substr(0, whole.size() - 1)) == "none");
  CHECK(error_of(whole + "{}\n") == "is damaged: there is more after its last line");
}

TEST_CASE("another version's recording is refused, unless it has all that this one knows") {
  const std::string whole = write_recording(small_one(), "7.0.0");
  CHECK(error_of(with(whole, "\"poolmalloc_recording\":1", "\"poolmalloc_recording\":2")) ==
        "is a recording of format 2, made by poolmalloc 7.0.0; this command reads format 1");
  CHECK(error_of(with(whole, "\"committed_bytes\"", "\"promised_bytes\"")) ==
        "was made by poolmalloc 7.0.0, whose statistics lack some of this version's");

  // Further metrics, in another order: each number still goes where its name says.
  std::string newer;
  size_t start = 0;
  for (size_t end; (end = whole.find('\n', start)) != std::string::npos; start = end + 1) {
    Json line = Json::parse(whole.substr(start, end - start));
    if (line.contains("metrics"))
      line["metrics"].insert(line["metrics"].begin(), start == 0 ? Json("brand_new") : Json(5));
    newer += line.dump() + "\n";
  }
  Recording back;
  std::string error;
  REQUIRE(parse_recording(newer, back, error));
  CHECK(back.samples[1].snapshot.live_bytes == 1000);
  CHECK(back.samples[1].snapshot.leak_growth_bytes == UINT64_MAX - 1);
}

TEST_CASE("what is no recording, or a damaged one, is named") {
  const std::string whole = write_recording(small_one(), "1.2.3");
  for (const char* text : {"hello\n", "{}\n", "[1,2]\n", "\n", "poolmalloc-profile 1\n"})
    CHECK(error_of(text) == "is not a recording of poolmalloc record");
  CHECK(error_of(with(whole, "\"pid\":42", "\"pid\":-1")) == "is damaged: line 1 is not as it should be");
  CHECK(error_of(with(whole, "\"time_ms\":1700000000250", "\"time_ms\":\"x\"")) ==
        "is damaged: line 3 is not as it should be");
  CHECK(error_of(with(whole, "\"time_ms\":1700000000250", "\"time_ms\":3")) ==
        "is damaged: line 3 is not as it should be");  // time runs backwards
  CHECK(error_of(with(whole, "[[32,", "[[32],[32,")) == "is damaged: line 2 is not as it should be");
  CHECK(error_of(with(whole, "\"kind\":\"decommit\"", "\"kind\":7")) == "is damaged: line 5 is not as it should be");
  CHECK(error_of(with(whole, "\"severity\":\"warning\"", "\"severity\":\"awful\"")) ==
        "is damaged: line 6 is not as it should be");
  CHECK(error_of(with(whole, "\"samples\":3", "\"samples\":4")) == "is damaged: line 7 is not as it should be");
  CHECK(error_of(with(whole, "\"events\":1,", "\"events\":0,")) == "is damaged: line 7 is not as it should be");
  CHECK(error_of(with(whole, "{\"time_ms\":1700000000250", "\xff\xfe{")) ==
        "is damaged: line 3 is not as it should be");
}

TEST_CASE("a long recording stays bounded, begins where it began and keeps its peaks") {
  Recording r;
  uint64_t halved = 0;
  constexpr uint64_t kCount = 5 * kMostSamples;
  for (uint64_t i = 0; i < kCount; ++i) {
    Sample sample = {};
    sample.time_ms = 1000 + i;
    sample.snapshot.resident_bytes = i % 97 == 5 ? 1000 : 10;
    if (i == 1234) sample.snapshot.resident_bytes = 1'000'000;
    if (add_sample(r, sample)) ++halved;
    REQUIRE(r.samples.size() < kMostSamples);
  }
  CHECK(halved == 9);  // half of them goes each time, and comes again
  CHECK(r.samples.front().time_ms == 1000);
  CHECK(r.samples.back().time_ms == 1000 + kCount - 1);
  uint64_t most = 0;
  for (size_t i = 0; i < r.samples.size(); ++i) {
    most = std::max(most, r.samples[i].snapshot.resident_bytes);
    if (i > 0) REQUIRE(r.samples[i].time_ms > r.samples[i - 1].time_ms);
  }
  CHECK(most == 1'000'000);
}
