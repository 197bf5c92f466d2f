#include "preload/launcher/leaks.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "preload/launcher/profile_text.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

Amount old_part(const Amounts& amounts, size_t step) {
  Amount sum;
  for (size_t i = step; i < kAgeSteps; ++i) sum += amounts.live_by_age[i];
  return sum;
}

bool grew(const Leak& leak) { return leak.growth && leak.growth->bytes.value > 0; }

std::string duration(uint64_t seconds) {
  if (seconds >= 3600 && seconds % 3600 == 0) return std::to_string(seconds / 3600) + "h";
  if (seconds >= 60 && seconds % 60 == 0) return std::to_string(seconds / 60) + "m";
  return std::to_string(seconds) + "s";
}

// "1s-10s", ">12h".
std::string name_of_step(size_t step) {
  if (step + 1 == kAgeSteps) return ">" + duration(kAgeStepSeconds[step]);
  const std::string end = duration(kAgeStepSeconds[step + 1]);
  return step == 0 ? "<" + end : duration(kAgeStepSeconds[step]) + "-" + end;
}

std::string ages_text(const Amounts& amounts) {
  std::string text;
  for (size_t i = kAgeSteps; i-- > 0;) {
    const double bytes = amounts.live_by_age[i].bytes.value;
    if (bytes == 0) continue;
    text += (text.empty() ? "" : ", ") + name_of_step(i) + " " + human_amount(bytes, Unit::bytes);
  }
  return text;
}

Json json_of(const Amount& amount) {
  return {{"bytes", amount.bytes.value},
          {"bytes_error", amount.bytes.error()},
          {"objects", amount.objects.value},
          {"objects_error", amount.objects.error()}};
}

size_t rows_shown(const LeakReport& report, size_t rows) {
  return rows == 0 ? report.leaks.size() : std::min(rows, report.leaks.size());
}

}  // namespace

std::optional<size_t> age_step(uint64_t seconds) {
  for (size_t i = 0; i < kAgeSteps; ++i) {
    if (kAgeStepSeconds[i] >= seconds) return i;
  }
  return {};
}

LeakReport find_leaks(const StackProfile& profile, size_t step, const StackProfile* earlier) {
  LeakReport report;
  report.older_than_s = kAgeStepSeconds[step];
  std::map<std::vector<std::string>, Amount> before;
  if (earlier != nullptr) {
    report.watched_s = static_cast<double>(profile.taken_ms - earlier->taken_ms) / 1000;
    for (const NamedStack& stack : by_names(*earlier)) before[stack.functions] = stack.amounts[Weight::inuse];
  }
  for (NamedStack& stack : by_names(profile)) {
    Leak leak = {std::move(stack.functions), old_part(stack.amounts, step), stack.amounts, {}};
    if (leak.old.objects.value == 0) continue;
    if (earlier != nullptr) {
      leak.growth = stack.amounts[Weight::inuse];
      *leak.growth -= before[leak.functions];
    }
    report.old += leak.old;
    report.leaks.push_back(std::move(leak));
  }
  std::stable_sort(report.leaks.begin(), report.leaks.end(), [](const Leak& a, const Leak& b) {
    return grew(a) != grew(b) ? grew(a) : a.old.bytes.value > b.old.bytes.value;
  });
  return report;
}

std::string leaks_text(const LeakReport& report, const StackProfile& profile, size_t rows) {
  std::string text = "process " + std::to_string(profile.pid) + " (" + profile.executable +
                     "): " + human_estimate(report.old.bytes, Unit::bytes) + " in " +
                     human_amount(report.old.objects.value, Unit::objects) + " objects live for " +
                     duration(report.older_than_s) + " or longer\n";
  const size_t shown = rows_shown(report, rows);
  for (size_t i = 0; i < shown; ++i) {
    const Leak& leak = report.leaks[i];
    text += "\n" + std::to_string(i + 1) + ". " + human_estimate(leak.old.bytes, Unit::bytes) + " in " +
            human_amount(leak.old.objects.value, Unit::objects) + " objects";
    if (leak.growth) {
      const Estimate& growth = leak.growth->bytes;
      char seconds[32];
      std::snprintf(seconds, sizeof seconds, "%.0f s", report.watched_s);
      text += growth.value == 0
                  ? std::string(", unchanged")
                  : std::string(growth.value > 0 ? ", +" : ", ") + human_amount(growth.value, Unit::bytes);
      text += std::string(" in ") + seconds;
    }
    text += "\n   all that is live, by age: " + ages_text(leak.amounts) + "\n";
    for (auto function = leak.functions.rbegin(); function != leak.functions.rend(); ++function) {
      text += "       " + printable(*function) + "\n";
    }
  }
  if (shown < report.leaks.size()) text += "\nand " + std::to_string(report.leaks.size() - shown) + " more stacks\n";
  return text;
}

std::string leaks_json(const LeakReport& report, const StackProfile& profile, size_t rows) {
  Json json = {{"pid", profile.pid},
               {"executable", profile.executable},
               {"taken", static_cast<double>(profile.taken_ms) / 1000},
               {"started", static_cast<double>(profile.started_ms) / 1000},
               {"period", profile.period},
               {"dropped", profile.dropped},
               {"older_than_s", report.older_than_s},
               {"watched_s", report.watched_s},
               {"old", json_of(report.old)},
               {"notes", profile.notes},
               {"leaks", Json::array()}};
  for (size_t i = 0; i < rows_shown(report, rows); ++i) {
    const Leak& leak = report.leaks[i];
    Json ages = Json::array();
    for (size_t step = 0; step < kAgeSteps; ++step) {
      ages.push_back({{"from_s", kAgeStepSeconds[step]}, {"live", json_of(leak.amounts.live_by_age[step])}});
    }
    Json entry = {{"functions", leak.functions},
                  {"old", json_of(leak.old)},
                  {"live", json_of(leak.amounts[Weight::inuse])},
                  {"ages", std::move(ages)}};
    if (leak.growth) entry["growth"] = json_of(*leak.growth);
    json["leaks"].push_back(std::move(entry));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace pm
