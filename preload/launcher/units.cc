#include "preload/launcher/units.h"

#include <ctime>

#include "base/text.h"

namespace pm {

std::string bytes_text(uint64_t bytes) {
  char buffer[32];
  TextWriter out(buffer);
  return out.bytes(bytes).c_str();
}

std::string grouped_text(uint64_t number) {
  char buffer[32];
  TextWriter out(buffer);
  return out.grouped(number).c_str();
}

std::string duration_text(uint64_t seconds) {
  const auto two = [](uint64_t large, const char* large_unit, uint64_t small, const char* small_unit) {
    std::string text = std::to_string(large) + large_unit;
    return small == 0 ? text : text + " " + std::to_string(small) + small_unit;
  };
  constexpr uint64_t kMinute = 60;
  constexpr uint64_t kHour = 60 * kMinute;
  constexpr uint64_t kDay = 24 * kHour;
  if (seconds < kMinute) return std::to_string(seconds) + " s";
  if (seconds < kHour) return two(seconds / kMinute, " min", seconds % kMinute, " s");
  if (seconds < kDay) return two(seconds / kHour, " h", seconds % kHour / kMinute, " min");
  return two(seconds / kDay, " d", seconds % kDay / kHour, " h");
}

std::string percent_text(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  return std::to_string(static_cast<uint64_t>(percent + 0.5)) + " %";
}

std::string time_text(uint64_t unix_seconds) {
  const auto time = static_cast<std::time_t>(unix_seconds);
  std::tm local = {};
  localtime_r(&time, &local);
  char buffer[32];
  return {buffer, std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M:%S", &local)};
}

std::string printable(const std::string& text) {
  std::string clean;
  for (const char c : text) clean += static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? '?' : c;
  return clean;
}

}  // namespace pm
