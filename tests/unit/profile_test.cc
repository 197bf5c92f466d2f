#include "preload/launcher/profile.h"

#include <string>

#include "tests/catch.h"

namespace {

using namespace pm;

const std::string kHeader =
    "poolmalloc-profile 1\n"
    "process 4711 1700000000 /opt/a program\n"
    "taken 1700000100.250\n"
    "started 1700000001.007\n"
    "period 524288\n"
    "dropped 17\n";
const std::string kMappings =
    "mapping 400000 500000 1000 0123abcdef here /opt/a program\n"
    "mapping 7f0000000000 7f0000001000 0 - gone /usr/lib/lib gone.so (deleted)\n";
const std::string kSites =
    "site 0 64 10 5 6 3 age 1 0 2 0 0 0 0 2 stack 400100 400200 7f0000000010\n"
    "site 12 1048576 3 3 3 0 age 3 0 0 0 0 0 0 0 stack ffffffffffffffff\n";
const std::string kWhole = kHeader + kMappings + kSites + "end 2\n";

std::string error_of(const std::string& text) {
  HeapProfile profile;
  ProfileError error;
  if (parse_profile(text, profile, error)) return "none";
  return std::to_string(error.line) + ": " + error.what;
}

// The whole dump with one line replaced.
std::string with_line(size_t number, const std::string& line) {
  size_t start = 0;
  for (size_t i = 1; i < number; ++i) start = kWhole.find('\n', start) + 1;
  return kWhole.substr(0, start) + line + kWhole.substr(kWhole.find('\n', start));
}

TEST_CASE("a dump is read whole") {
  HeapProfile profile;
  ProfileError error;
  REQUIRE(parse_profile(kWhole, profile, error));
  CHECK(profile.pid == 4711);
  CHECK(profile.process_start_s == 1700000000);
  CHECK(profile.executable == "/opt/a program");
  CHECK(profile.taken_ms == 1700000100250);
  CHECK(profile.started_ms == 1700000001007);
  CHECK(profile.period == 524288);
  CHECK(profile.dropped == 17);

  REQUIRE(profile.mappings.size() == 2);
  CHECK(profile.mappings[0].start == 0x400000);
  CHECK(profile.mappings[0].end == 0x500000);
  CHECK(profile.mappings[0].offset == 0x1000);
  CHECK(profile.mappings[0].build_id == "0123abcdef");
  CHECK_FALSE(profile.mappings[0].gone);
  CHECK(profile.mappings[1].build_id.empty());
  CHECK(profile.mappings[1].gone);
  CHECK(profile.mappings[1].path == "/usr/lib/lib gone.so (deleted)");

  REQUIRE(profile.sites.size() == 2);
  const ProfileSite& site = profile.sites[0];
  CHECK(site.size == 64);
  CHECK(site.allocated == 10);
  CHECK(site.live == 5);
  CHECK(site.peak == 6);
  CHECK(site.temporary == 3);
  CHECK(site.ages == std::array<uint64_t, kAgeSteps>{1, 0, 2, 0, 0, 0, 0, 2});
  CHECK(site.stack == std::vector<uint64_t>{0x400100, 0x400200, 0x7f0000000010});
  CHECK(profile.sites[1].stack == std::vector<uint64_t>{UINT64_MAX});
}

TEST_CASE("a profile in which nothing was sampled is whole") { CHECK(error_of(kHeader + "end 0\n") == "none"); }

TEST_CASE("a dump cut off anywhere is told by its last line, never taken for a shorter one") {
  for (size_t length = 0; length < kWhole.size(); ++length) {
    CAPTURE(length);
    const std::string cut = kWhole.substr(0, length);
    const size_t lines = static_cast<size_t>(std::count(cut.begin(), cut.end(), '\n'));
    CHECK(error_of(cut) ==
          std::to_string(lines + 1) + (length == 0 ? ": the file is empty" : ": the file is cut off here"));
  }
}

TEST_CASE("each malformed line is named") {
  CHECK(error_of("heap profile: 1: 2\n") == "1: this is not a poolmalloc heap profile of version 1");
  CHECK(error_of(with_line(1, "poolmalloc-profile 2")) == "1: this is not a poolmalloc heap profile of version 1");
  for (const char* line : {"process 4711 1700000000", "process x 1 /bin/a", "process 1  /bin/a", "process 1 2 "}) {
    CAPTURE(line);
    CHECK(error_of(with_line(2, line)) == "2: malformed \"process\" line");
  }
  for (const char* line : {"taken 1700000100", "taken 1700000100.25", "taken .250", "taken 1.2 5", "taken -1.250",
                           "taken 9000000001.000", "taken 99999999999999999999.000", "taken 1.250 "}) {
    CAPTURE(line);
    CHECK(error_of(with_line(3, line)) == "3: malformed \"taken\" line");
  }
  CHECK(error_of(with_line(4, "taken 1700000001.007")) == "4: expected a line that begins with \"started\"");
  CHECK(error_of(with_line(5, "period 0")) == "5: malformed \"period\" line");
  CHECK(error_of(with_line(6, "dropped +1")) == "6: malformed \"dropped\" line");
  for (const char* line : {"mapping 400000 400000 0 - here /a", "mapping 400000 500000 0 - there /a",
                           "mapping 400000 500000 0 0x1 here /a", "mapping 400000 500000 0 abc here /a",
                           "mapping 400000 500000 0 - here", "mapping 400000 500000 0  here /a",
                           "mapping 400000 500000 0 - here ", "mapping 400000 5000000000000000000000000 0 - here /a"}) {
    CAPTURE(line);
    CHECK(error_of(with_line(7, line)) == "7: malformed \"mapping\" line");
  }
  for (const char* line :
       {"site 0 0 1 1 1 1 age 0 0 0 0 0 0 0 0 stack 1", "site 0 64 1 1 1 age 0 0 0 0 0 0 0 0 stack 1",
        "site 0 64 1 1 1 1 age 0 0 0 0 0 0 0 stack 1", "site 0 64 1 1 1 1 age 0 0 0 0 0 0 0 0 stack",
        "site 0 64 1 1 1 1 age 0 0 0 0 0 0 0 0 stack ", "site 0 64 1 1 1 1 age 0 0 0 0 0 0 0 0 stack 1 ",
        "site 0 64 1 1 1 1 age 0 0 0 0 0 0 0 0 stack 0xff", "site 0 64 -1 1 1 1 age 0 0 0 0 0 0 0 0 stack 1",
        "site 0 64 1 1 1 1 old 0 0 0 0 0 0 0 0 stack 1", "site  0 64 1 1 1 1 age 0 0 0 0 0 0 0 0 stack 1"}) {
    CAPTURE(line);
    CHECK(error_of(with_line(9, line)) == "9: malformed \"site\" line");
  }
  CHECK(error_of(with_line(10, "side 1")) == "10: expected a line that begins with \"mapping\", \"site\" or \"end\"");
  CHECK(error_of(with_line(10, "mapping 1 2 3 - here /a")) == "10: a mapping behind the first site");
  CHECK(error_of(with_line(11, "end")) == "11: malformed \"end\" line");
  CHECK(error_of(with_line(11, "end 2 ")) == "11: malformed \"end\" line");
  CHECK(error_of(with_line(11, "end 3")) == "11: the end counts 3 sites, but there are 2");
  CHECK(error_of(kWhole + "x") == "12: there is more behind the end");
  CHECK(error_of(kWhole + "\n") == "12: there is more behind the end");
}

TEST_CASE("a stack deeper than any is refused") {
  std::string line = "site 0 64 1 1 1 1 age 0 0 0 0 0 0 0 0 stack";
  for (int i = 0; i < 4096; ++i) line += " 1";
  CHECK(error_of(kHeader + line + "\nend 1\n") == "none");
  CHECK(error_of(kHeader + line + " 1\nend 1\n") == "7: malformed \"site\" line");
}

}  // namespace
