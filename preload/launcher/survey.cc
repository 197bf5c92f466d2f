#include "preload/launcher/survey.h"

#include <fnmatch.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "preload/launcher/units.h"

namespace pm {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kFindNs = 1000 * kMs;  // between two looks through /proc, at least
constexpr int64_t kFindShare = 10;       // of the time may go into them: one in so many
constexpr int64_t kReadNs = 100 * kMs;   // between two readings of the pages; they are written at most every 20 ms

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 * kMs + now.tv_nsec;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Names of ours are small letters. What is none of them would end up in the middle of a line of OpenMetrics.
void make_harmless(char* name) {
  for (; *name != '\0'; ++name) {
    if (std::islower(static_cast<unsigned char>(*name)) == 0) *name = '_';
  }
}

// Writing a page takes microseconds. A process that was stopped in the midst of it is not waited for.
std::unique_ptr<PageBody> read_now(const Target& target) {
  constexpr int kTries = 3;
  if (target.page == nullptr) return nullptr;
  auto body = std::make_unique<PageBody>();
  for (int i = 0; i < kTries; ++i) {
    if (page_read(*target.page, *body)) {
      make_harmless(body->snapshot.mode);
      make_harmless(body->snapshot.fit);
      return body;
    }
    usleep(200);
  }
  return nullptr;
}

bool is_ours(TargetState state) {
  return state == TargetState::published || state == TargetState::unpublished || state == TargetState::other_version;
}

}  // namespace

const char* state_name(const SurveyedProcess& process) {
  switch (process.target.state) {
    case TargetState::published: return process.page != nullptr ? "read" : "stuck";
    case TargetState::other_version: return "other_version";
    default: return "unpublished";
  }
}

std::string memory_cgroup(const std::string& text) {
  std::istringstream lines(text);
  std::string found;
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool is_memory = controllers.find(",memory,") != std::string::npos;
    if (is_memory || (controllers == ",," && found.empty())) found = line.substr(second + 1);
    if (is_memory) break;
  }
  return found == "/" ? std::string() : found;
}

std::string cgroup_name(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  constexpr size_t kIdLength = 64;
  size_t digits = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    digits = std::isxdigit(static_cast<unsigned char>(name[i])) != 0 ? digits + 1 : 0;
    if (digits == kIdLength) return name.substr(i + 1 - kIdLength, 12);
  }
  return name;
}

std::string quoted_label(const std::string& text) {
  using Json = nlohmann::json;
  // Without control characters JSON escapes what OpenMetrics does, the quote and the backslash.
  return Json(printable(text)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool Surveyor::is_asked_for(const Target& target) const {
  const auto has_name = [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), target.program.c_str(), 0) == 0;
  };
  const std::vector<pid_t>& pids = request_.pids;
  const std::vector<std::string>& programs = request_.programs;
  return (pids.empty() || std::find(pids.begin(), pids.end(), target.pid) != pids.end()) &&
         (programs.empty() || std::any_of(programs.begin(), programs.end(), has_name));
}

SurveyedProcess Surveyor::describe(Target target) const {
  SurveyedProcess process;
  process.started_unix_s = process_age(target.pid).started_unix_s;
  // Rounding must not let a process begin anew.
  for (const SurveyedProcess& known : survey_.processes) {
    const uint64_t later = known.started_unix_s + 1;
    if (known.target.pid == target.pid && process.started_unix_s + 1 >= known.started_unix_s &&
        process.started_unix_s <= later) {
      process.started_unix_s = known.started_unix_s;
    }
  }
  process.cgroup_path = memory_cgroup(text_of("/proc/" + std::to_string(target.pid) + "/cgroup"));
  process.cgroup = cgroup_name(process.cgroup_path);
  process.target = std::move(target);
  return process;
}

void Surveyor::find_processes() {
  std::vector<Target> targets;
  if (request_.pids.empty()) {
    survey_.forbidden = 0;
    targets = find_targets(&survey_.forbidden);
  } else {
    for (const pid_t pid : request_.pids) targets.push_back(open_target(pid));
  }
  std::vector<SurveyedProcess> found;
  for (Target& target : targets) {
    if (is_ours(target.state) && is_asked_for(target)) found.push_back(describe(std::move(target)));
  }
  std::sort(found.begin(), found.end(), [](const SurveyedProcess& a, const SurveyedProcess& b) {
    return std::pair(a.started_unix_s, a.target.pid) < std::pair(b.started_unix_s, b.target.pid);
  });
  survey_.left_out =
      found.size() > request_.max_processes ? static_cast<unsigned>(found.size() - request_.max_processes) : 0;
  found.resize(found.size() - survey_.left_out);
  survey_.processes = std::move(found);
}

const Survey& Surveyor::look() {
  const int64_t start = now_ns();
  if (start < read_due_ns_) return survey_;
  if (start >= find_due_ns_) {
    find_processes();
    const int64_t now = now_ns();
    find_due_ns_ = now + std::max(kFindNs, kFindShare * (now - start));
  } else {
    auto& processes = survey_.processes;
    processes.erase(std::remove_if(processes.begin(), processes.end(),
                                   [](const SurveyedProcess& process) { return !is_alive(process.target); }),
                    processes.end());
  }
  for (SurveyedProcess& process : survey_.processes) {
    process.page = read_now(process.target);
    if (process.target.state == TargetState::published) {
      process.target.complaint =
          process.page != nullptr ? "" : "it has stopped in the middle of writing its statistics";
    }
  }
  const int64_t end = now_ns();
  survey_.seconds = static_cast<double>(end - start) / 1e9;
  survey_.number += 1;
  read_due_ns_ = end + kReadNs;
  return survey_;
}

const SurveyedProcess* Surveyor::find(pid_t pid) {
  for (const SurveyedProcess& process : look().processes) {
    if (process.target.pid == pid) return &process;
  }
  Target target = open_target(pid);
  if (!is_ours(target.state) || !is_asked_for(target)) return nullptr;
  other_ = describe(std::move(target));
  other_.page = read_now(other_.target);
  return &other_;
}

}  // namespace pm
