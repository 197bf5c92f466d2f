// The CSV form of curves.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <istream>
#include <ostream>
#include <string_view>

#include "preload/launcher/curves.h"

namespace pm {

namespace {

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\"");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\"") - first + 1);
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t start = 0; start <= line.size();) {
    const size_t comma = std::min(line.find(',', start), line.size());
    fields.push_back(trimmed(line.substr(start, comma - start)));
    start = comma + 1;
  }
  return fields;
}

bool read_number(std::string_view text, double& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() && end == text.data() + text.size() && std::isfinite(value) && value >= 0;
}

// Whole numbers as they stand, others (1.5e8) rounded down.
bool read_bytes(std::string_view text, uint64_t& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure == std::errc() && end == text.data() + text.size()) return true;
  double real = 0;
  if (!read_number(text, real) || real >= 0x1p64) return false;
  value = static_cast<uint64_t>(real);
  return true;
}

// Where each column stands; -1: nowhere.
struct Columns {
  int time = -1, used = -1, usage = -1, limit = -1;

  explicit Columns(const std::vector<std::string_view>& names) {
    for (size_t i = 0; i < names.size(); ++i) {
      const int place = static_cast<int>(i);
      if (names[i] == "time_s") time = place;
      if (names[i] == "used_bytes") used = place;
      if (names[i] == "usage_bytes") usage = place;
      if (names[i] == "limit_bytes") limit = place;
    }
  }
};

std::string_view field_at(const std::vector<std::string_view>& fields, int place) {
  return place >= 0 && static_cast<size_t>(place) < fields.size() ? fields[static_cast<size_t>(place)] : "";
}

// What is wrong with the line, or nothing.
const char* read_point(const Columns& columns, const std::vector<std::string_view>& fields, CurvePoint& point) {
  if (!read_number(field_at(fields, columns.time), point.time_s)) return "time_s is not a number of seconds";
  if (!read_bytes(field_at(fields, columns.used), point.used_bytes)) return "used_bytes is not a number of bytes";
  point.usage_bytes = point.used_bytes;
  const std::string_view usage = field_at(fields, columns.usage);
  if (!usage.empty() && !read_bytes(usage, point.usage_bytes)) return "usage_bytes is not a number of bytes";
  point.limit_bytes = kCurveWithoutLimit;
  const std::string_view limit = field_at(fields, columns.limit);
  if (!limit.empty() && limit != "max" && !read_bytes(limit, point.limit_bytes)) {
    return "limit_bytes is neither a number of bytes nor max";
  }
  return nullptr;
}

}  // namespace

bool read_curve(std::istream& in, Curve& curve, std::string& error) {
  curve.points.clear();
  Columns columns({});
  std::string line;
  size_t number = 0;
  const auto fail = [&](const std::string& what) {
    error = "line " + std::to_string(number) + ": " + what;
    return false;
  };
  while (std::getline(in, line)) {
    ++number;
    const std::string_view text = trimmed(line);
    if (text.empty() || text.front() == '#') continue;
    const std::vector<std::string_view> fields = fields_of(line);
    if (columns.time < 0) {
      columns = Columns(fields);
      if (columns.time < 0 || columns.used < 0)
        return fail("the first line must name the columns time_s and used_bytes");
      continue;
    }
    CurvePoint point{};
    if (const char* wrong = read_point(columns, fields, point)) return fail(wrong);
    if (!curve.points.empty() && point.time_s <= curve.points.back().time_s) return fail("time_s does not rise");
    curve.points.push_back(point);
  }
  return curve.points.empty() ? fail("no points") : true;
}

void write_curve(std::ostream& out, const Curve& curve) {
  out << "time_s,used_bytes,usage_bytes,limit_bytes\n";
  for (const CurvePoint& point : curve.points) {
    char time[32];
    std::snprintf(time, sizeof time, "%.9g", point.time_s);
    out << time << ',' << point.used_bytes << ',' << point.usage_bytes << ',';
    if (point.limit_bytes == kCurveWithoutLimit) {
      out << "max\n";
    } else {
      out << point.limit_bytes << '\n';
    }
  }
}

}  // namespace pm
