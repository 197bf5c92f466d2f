#include "preload/launcher/curves.h"

#include <sstream>

#include "tests/catch.h"

namespace {

using namespace pm;

bool same(const Curve& a, const Curve& b) {
  if (a.points.size() != b.points.size()) return false;
  for (size_t i = 0; i < a.points.size(); ++i) {
    if (a.points[i].time_s != b.points[i].time_s || a.points[i].used_bytes != b.points[i].used_bytes ||
        a.points[i].usage_bytes != b.points[i].usage_bytes || a.points[i].limit_bytes != b.points[i].limit_bytes) {
      return false;
    }
  }
  return true;
}

TEST_CASE("every family makes the same curve from the same seed, and another from another") {
  CHECK(curve_families().size() >= 14);
  for (const std::string& family : curve_families()) {
    CAPTURE(family);
    const Curve curve = make_curve({family, 5, 300, 2});
    CHECK(curve.points.size() == 600);
    CHECK(curve.name == family);
    CHECK(same(curve, make_curve({family, 5, 300, 2})));
    CHECK_FALSE(same(curve, make_curve({family, 6, 300, 2})));
    for (const CurvePoint& point : curve.points) REQUIRE(point.used_bytes < point.usage_bytes + 1'000'000);
  }
}

TEST_CASE("families meet their limit as they say") {
  for (const std::string& family : curve_families()) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      bool met = false;
      for (const CurvePoint& point : make_curve({family, seed, 1800, 2}).points) {
        met |= point.usage_bytes >= point.limit_bytes;
      }
      CAPTURE(family, seed);
      CHECK(met == curve_meets_limit(family));
    }
  }
}

TEST_CASE("requests that make no sense give no points") {
  CHECK(make_curve({"nosuch", 1, 100, 2}).points.empty());
  CHECK(make_curve({"steady", 1, -1, 2}).points.empty());
  CHECK(make_curve({"steady", 1, 100, 0}).points.empty());
  CHECK(make_curve({"steady", 1, 1e9, 1e9}).points.empty());
}

TEST_CASE("a curve written is read again") {
  const Curve curve = make_curve({"saw_leak", 2, 60, 2});
  std::stringstream file;
  write_curve(file, curve);
  Curve again;
  std::string error;
  REQUIRE(read_curve(file, again, error));
  CHECK(same(curve, again));
}

TEST_CASE("columns in any order, some missing, comments and CRLF") {
  std::istringstream file("# recorded\r\nhost, used_bytes ,time_s\r\n\r\na,100,0\r\nb,1.5e3,0.5\r\n");
  Curve curve;
  std::string error;
  REQUIRE(read_curve(file, curve, error));
  REQUIRE(curve.points.size() == 2);
  CHECK(curve.points[1].time_s == 0.5);
  CHECK(curve.points[1].used_bytes == 1500);
  CHECK(curve.points[1].usage_bytes == 1500);
  CHECK(curve.points[1].limit_bytes == kCurveWithoutLimit);
}

TEST_CASE("a file that makes no sense is refused with the line") {
  const struct {
    const char* text;
    const char* error;
  } cases[] = {
      {"", "line 0: no points"},
      {"time_s,used_bytes\n", "line 1: no points"},
      {"time,used\n1,2\n", "line 1: the first line must name the columns time_s and used_bytes"},
      {"time_s,used_bytes\n0,1\n0,1\n", "line 3: time_s does not rise"},
      {"time_s,used_bytes\nnan,1\n", "line 2: time_s is not a number of seconds"},
      {"time_s,used_bytes\n0,-5\n", "line 2: used_bytes is not a number of bytes"},
      {"time_s,used_bytes\n0,1e30\n", "line 2: used_bytes is not a number of bytes"},
      {"time_s,used_bytes\n0\n", "line 2: used_bytes is not a number of bytes"},
      {"time_s,used_bytes,usage_bytes\n0,1,x\n", "line 2: usage_bytes is not a number of bytes"},
      {"time_s,used_bytes,limit_bytes\n0,1,some\n", "line 2: limit_bytes is neither a number of bytes nor max"},
  };
  for (const auto& one : cases) {
    std::istringstream file(one.text);
    Curve curve;
    std::string error;
    CHECK_FALSE(read_curve(file, curve, error));
    CHECK(error == one.error);
  }
}

}  // namespace
