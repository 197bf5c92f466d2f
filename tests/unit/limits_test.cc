#include "observe/limits.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "tests/catch.h"
#include "tests/unit/fake_groups.h"

using namespace pm;
using namespace pm::test;

namespace {

constexpr uint64_t kSecond = 1000000000;

struct Fixture {
  FakeFiles files;
  GroupLimits limits;
  LimitReading reading{};
  char buffer[8192];
  uint64_t now = 100 * kSecond;

  os::Scratch scratch() { return {buffer, sizeof buffer}; }
  void locate(uint8_t version, const std::string& path, const std::string& top) {
    os::GroupPath place;
    place.version = version;
    place.mount_size = top.size();
    place.size = path.size();
    memcpy(place.directory, path.data(), path.size());
    limits.locate(files.functions(), place);
  }
  bool look() {
    now += kSecond;
    const bool there = limits.refresh(files.functions(), scratch(), now);
    return limits.read(files.functions(), scratch(), now, reading) && there;
  }
  bool look_quickly() {
    now += kSecond / 10;
    return limits.read(files.functions(), scratch(), now, reading);
  }
};

}  // namespace

TEST_CASE("usage leaves inactive file pages out, in both versions") {
  Fixture f;
  group1(f.files, "/m/a", 100, 200, 30);
  group1(f.files, "/m", 1000, 0);
  f.locate(1, "/m/a", "/m");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 200 * kMiB);
  CHECK(f.reading.usage_bytes == 70 * kMiB);
  CHECK((f.reading.has_usage && f.reading.has_limit && f.reading.has_events));
  CHECK(f.reading.level == 0);

  Fixture g;
  group2(g.files, "/u/a", 100, mib(200), "max", 40);
  root2(g.files, "/u");
  g.locate(2, "/u/a", "/u");
  REQUIRE(g.look());
  CHECK(g.reading.limit_bytes == 200 * kMiB);
  CHECK(g.reading.usage_bytes == 60 * kMiB);
  CHECK_FALSE(g.reading.soft);
}

TEST_CASE("more inactive pages than usage is no negative usage") {
  Fixture f;
  group2(f.files, "/u/a", 10, mib(200), "max", 40);
  f.locate(2, "/u/a", "/u");
  REQUIRE(f.look());
  CHECK(f.reading.usage_bytes == 0);
}

TEST_CASE("the group with the least headroom counts, with its own usage") {
  Fixture f;
  group2(f.files, "/u/p/c", 100, mib(1000));
  group2(f.files, "/u/p", 7900, mib(8000));
  root2(f.files, "/u");
  f.locate(2, "/u/p/c", "/u");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 8000 * kMiB);
  CHECK(f.reading.usage_bytes == 7900 * kMiB);
  CHECK(f.reading.level == 1);
  // The neighbours leave, the own group grows: its own limit is the tighter one now.
  f.files.set("/u/p/memory.current", mib(1000) + "\n");
  f.files.set("/u/p/c/memory.current", mib(900) + "\n");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 1000 * kMiB);
  CHECK(f.reading.usage_bytes == 900 * kMiB);
  CHECK(f.reading.level == 0);
}

TEST_CASE("two groups alike do not take turns") {
  Fixture f;
  group2(f.files, "/u/p/c", 100, mib(1000));
  group2(f.files, "/u/p", 110, mib(1000));
  f.locate(2, "/u/p/c", "/u");
  REQUIRE(f.look());
  CHECK(f.reading.level == 1);
  f.files.set("/u/p/c/memory.current", mib(120) + "\n");
  REQUIRE(f.look());
  CHECK(f.reading.level == 1);
  f.files.set("/u/p/c/memory.current", mib(500) + "\n");
  REQUIRE(f.look());
  CHECK(f.reading.level == 0);
}

TEST_CASE("memory.high is a limit that throttles") {
  Fixture f;
  group2(f.files, "/u/a", 100, mib(300), mib(200));
  f.locate(2, "/u/a", "/u");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 200 * kMiB);
  CHECK(f.reading.soft);
  f.files.set("/u/a/memory.high", "max\n");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 300 * kMiB);
  CHECK_FALSE(f.reading.soft);
}

TEST_CASE("no limit anywhere is known to be none") {
  Fixture f;
  group2(f.files, "/u/a", 100, "max");
  root2(f.files, "/u");
  f.locate(2, "/u/a", "/u");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == UINT64_MAX);
  CHECK(f.reading.has_limit);
  CHECK(f.limits.usage_file() == nullptr);

  Fixture g;
  group1(g.files, "/m", 100, 0);
  g.locate(1, "/m", "/m");
  REQUIRE(g.look());
  CHECK(g.reading.limit_bytes == UINT64_MAX);
  CHECK(g.reading.has_limit);

  Fixture none;
  none.locate(0, "", "");
  REQUIRE(none.look());
  CHECK_FALSE(none.reading.has_limit);
}

TEST_CASE("a limit below usage, and a limit of zero") {
  Fixture f;
  group2(f.files, "/u/a", 300, mib(200));
  f.locate(2, "/u/a", "/u");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 200 * kMiB);
  CHECK(f.reading.usage_bytes == 300 * kMiB);
  f.files.set("/u/a/memory.max", "0\n");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 0);
}

TEST_CASE("limits that come, move and go are followed") {
  Fixture f;
  group1(f.files, "/m/a", 100, 0);
  group1(f.files, "/m", 100, 0);
  f.locate(1, "/m/a", "/m");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == UINT64_MAX);
  f.files.set("/m/a/memory.limit_in_bytes", mib(400) + "\n");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 400 * kMiB);
  f.files.set("/m/a/memory.limit_in_bytes", mib(500) + "\n");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 500 * kMiB);
  f.files.set("/m/a/memory.limit_in_bytes", "-1\n");  // as written; never read back so: garbage
  REQUIRE(f.look());
  CHECK_FALSE(f.reading.has_limit);
  f.files.set("/m/a/memory.limit_in_bytes", kNone1 + "\n");
  REQUIRE(f.look());
  CHECK((f.reading.has_limit && f.reading.limit_bytes == UINT64_MAX));
}

TEST_CASE("version 1 tells a limit above what is visible") {
  Fixture f;
  group1(f.files, "/m/a", 100, 0, 10, mib(300));
  group1(f.files, "/m", 200, 0, 20, mib(300));
  f.locate(1, "/m/a", "/m");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 300 * kMiB);
  CHECK(f.reading.usage_bytes == 180 * kMiB);  // of the topmost visible group
  // A visible limit that is as tight is the one it speaks of.
  f.files.set("/m/a/memory.limit_in_bytes", mib(300) + "\n");
  f.files.set("/m/a/memory.usage_in_bytes", mib(290) + "\n");
  REQUIRE(f.look());
  CHECK(f.reading.usage_bytes == 280 * kMiB);
  CHECK(f.reading.level == 0);
}

TEST_CASE("events are high and max, or failcnt") {
  Fixture f;
  group2(f.files, "/u/a", 100, mib(200));
  f.files.set("/u/a/memory.events", "low 9\nhigh 3\nmax 4\noom 1\noom_kill 1\n");
  f.locate(2, "/u/a", "/u");
  REQUIRE(f.look());
  CHECK(f.reading.events == 7);
  Fixture g;
  group1(g.files, "/m", 100, 200);
  g.files.set("/m/memory.failcnt", "12\n");
  g.locate(1, "/m", "/m");
  REQUIRE(g.look());
  CHECK(g.reading.events == 12);
  g.files.remove("/m/memory.failcnt");
  g.look_quickly();
  CHECK_FALSE(g.reading.has_events);
  CHECK(g.reading.has_usage);
}

TEST_CASE("garbage and cut files are no values") {
  for (const std::string bad : {"", "x", "12", "-5\n", "99999999999999999999999\n", "\n"}) {
    Fixture f;
    group2(f.files, "/u/a", 100, mib(200));
    f.files.set("/u/a/memory.current", bad);
    f.locate(2, "/u/a", "/u");
    CHECK_FALSE(f.look());
    CHECK_FALSE(f.reading.has_usage);
    CHECK(f.reading.limit_bytes == 200 * kMiB);
    f.files.set("/u/a/memory.current", mib(100) + "\n");
    f.files.set("/u/a/memory.max", bad);
    CHECK(f.look());
    CHECK(f.reading.limit_bytes == UINT64_MAX);
    CHECK_FALSE(f.reading.has_limit);
  }
}

TEST_CASE("a group that vanishes is told, at the next look") {
  Fixture f;
  group2(f.files, "/u/a", 100, mib(200));
  f.locate(2, "/u/a", "/u");
  REQUIRE(f.look());
  f.files.remove_below("/u/a");
  CHECK_FALSE(f.look_quickly());
  CHECK_FALSE(f.look());
  f.limits.close(f.files.functions());
  CHECK(f.files.open_count() == 0);
}

TEST_CASE("memory.stat is read once a second, or when usage has moved") {
  Fixture f;
  group2(f.files, "/u/a", 100, mib(1024), "max", 10);
  f.locate(2, "/u/a", "/u");
  REQUIRE(f.look());
  f.files.set("/u/a/memory.stat", "inactive_file " + mib(20) + "\n");
  REQUIRE(f.look_quickly());
  CHECK(f.reading.usage_bytes == 90 * kMiB);  // still the old figure
  f.files.set("/u/a/memory.current", mib(105) + "\n");
  REQUIRE(f.look_quickly());
  CHECK(f.reading.usage_bytes == 85 * kMiB);
  f.files.set("/u/a/memory.stat", "garbage\n");
  f.now += kSecond;
  REQUIRE(f.look_quickly());
  CHECK(f.reading.usage_bytes == 105 * kMiB);
}

TEST_CASE("once open, looking opens nothing") {
  Fixture f;
  group2(f.files, "/u/p/c", 100, mib(1000));
  group2(f.files, "/u/p", 110, mib(1000));
  group2(f.files, "/u", 110, "max");
  f.locate(2, "/u/p/c", "/u");
  REQUIRE(f.look());
  const unsigned opens = f.files.opens;
  for (int i = 0; i < 5; ++i) REQUIRE(f.look());
  CHECK(f.files.opens == opens);
}

TEST_CASE("deep nesting stops at the groups nearest to the process") {
  Fixture f;
  std::string path = "/u";
  for (int i = 0; i < 40; ++i) {
    path += "/n";
    group2(f.files, path, 10, i == 39 ? mib(100) : "max");
  }
  f.locate(2, path, "/u");
  REQUIRE(f.look());
  CHECK(f.reading.limit_bytes == 100 * kMiB);
}
