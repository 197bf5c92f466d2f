#include "preload/launcher/target.h"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>

#include "poolmalloc/poolmalloc.h"

namespace pm {
namespace {

std::string folder_of(pid_t pid) { return "/proc/" + std::to_string(pid); }

// Whole, or nothing if it cannot be read; the reason is in errno then.
std::optional<std::string> read_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::string text;
  std::array<char, 65536> chunk;
  ssize_t n;
  while ((n = read(fd, chunk.data(), chunk.size())) > 0) text.append(chunk.data(), static_cast<size_t>(n));
  const int error = errno;
  close(fd);
  errno = error;
  if (n < 0) return {};
  return text;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  DIR* const stream = opendir(folder.c_str());
  if (stream == nullptr) return names;
  while (const dirent* entry = readdir(stream)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(stream);
  return names;
}

std::optional<pid_t> as_number(const std::string& text) {
  pid_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value <= 0) return {};
  return value;
}

std::string link_of(const std::string& path) {
  std::array<char, 4096> target;
  const ssize_t length = readlink(path.c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<size_t>(length)) : std::string();
}

// The fields of /proc/PID/stat from the third on: the second is a name in brackets that may hold anything.
std::vector<std::string> stat_fields(pid_t pid) {
  std::vector<std::string> fields;
  const std::optional<std::string> text = read_file(folder_of(pid) + "/stat");
  if (!text) return fields;
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos) return fields;
  std::istringstream rest(text->substr(name_end + 1));
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

std::string name_of_process(pid_t pid) {
  std::string name = read_file(folder_of(pid) + "/comm").value_or("");
  if (!name.empty() && name.back() == '\n') name.pop_back();
  return name;
}

std::string owner_of(pid_t pid) {
  struct stat state;
  if (stat(folder_of(pid).c_str(), &state) != 0) return {};
  const passwd* const user = getpwuid(state.st_uid);
  return user != nullptr ? user->pw_name : "number " + std::to_string(state.st_uid);
}

// The last part of each mapped file's path, without repeats, and the whole path of those.
struct MappedFile {
  std::string path, name;
};
std::vector<MappedFile> mapped_files(const std::string& maps) {
  std::vector<MappedFile> files;
  size_t start = 0;
  while (start < maps.size()) {
    const size_t end = std::min(maps.find('\n', start), maps.size());
    const size_t slash = maps.find('/', start);
    if (slash < end && (files.empty() || maps.compare(slash, end - slash, files.back().path) != 0)) {
      std::string path = maps.substr(slash, end - slash);
      std::string name = path.substr(path.rfind('/') + 1);
      files.push_back({std::move(path), std::move(name)});
    }
    start = end + 1;
  }
  return files;
}

// What other allocators are called, in the order in which they would win.
struct KnownAllocator {
  const char* in_name;
  const char* name;
};
constexpr KnownAllocator kKnownAllocators[] = {
    {"libasan", "AddressSanitizer's"},
    {"libtsan", "ThreadSanitizer's"},
    {"libjemalloc", "jemalloc"},
    {"libtcmalloc", "tcmalloc"},
    {"libmimalloc", "mimalloc"},
    {"libsnmalloc", "snmalloc"},
    {"librpmalloc", "rpmalloc"},
    {"libtbbmalloc", "tbbmalloc"},
    {"libhoard", "Hoard"},
    {"libmesh", "Mesh"},
    {"libscudo", "Scudo"},
    {"libhardened_malloc", "hardened_malloc"},
};

std::string allocator_of(const std::vector<MappedFile>& files) {
  for (const KnownAllocator& known : kKnownAllocators) {
    for (const MappedFile& file : files) {
      if (file.name.rfind(known.in_name, 0) == 0) return std::string(known.name) + " (" + file.name + ")";
    }
  }
  for (const MappedFile& file : files) {
    if (file.name.rfind("ld-musl", 0) == 0) return "musl's own (" + file.name + ")";
    if (file.name.rfind("libc.so.6", 0) == 0 || file.name.rfind("libc-2.", 0) == 0) return "glibc's own malloc";
  }
  return "the allocator linked into it";
}

// Why a process on poolmalloc has no page, as far as it can be told from outside.
std::string reason_without_page(pid_t pid) {
  const std::string environment = read_file(folder_of(pid) + "/environ").value_or("");
  const auto has = [&](const std::string& setting) {
    return environment.rfind(setting + '\0', 0) == 0 || environment.find('\0' + setting + '\0') != std::string::npos;
  };
  if (has("POOLMALLOC_ENABLED=0")) return "poolmalloc is switched off in it by POOLMALLOC_ENABLED=0";
  if (has("POOLMALLOC_WORKER=off")) return "it publishes no statistics, because of POOLMALLOC_WORKER=off";
  const std::string status = read_file(folder_of(pid) + "/status").value_or("");
  const size_t filter = status.find("\nSeccomp:\t");
  if (filter != std::string::npos && status[filter + 10] != '0') {
    return "it publishes no statistics: it is small, and under a seccomp filter; "
           "POOLMALLOC_WORKER=always lets it publish from the start";
  }
  return "it publishes no statistics yet, because it is young or small; "
         "POOLMALLOC_WORKER=always lets it publish from the start";
}

// The page behind a descriptor of the process, or nothing if there is none or none of ours.
struct FoundPage {
  PageCheck check = PageCheck::no_page;
  std::string version;
  std::shared_ptr<const StatisticsPage> page;
};

FoundPage map_page(const std::string& path) {
  FoundPage found;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return found;
  PageHead head = {};
  struct stat state;
  if (fstat(fd, &state) == 0 && S_ISREG(state.st_mode) && pread(fd, &head, sizeof head, 0) == ssize_t{sizeof head}) {
    found.check = check_page(head, static_cast<uint64_t>(state.st_size));
  }
  if (found.check != PageCheck::no_page) {
    head.version[sizeof head.version - 1] = '\0';
    for (const char* c = head.version; *c != '\0'; ++c) found.version += *c >= ' ' && *c <= '~' ? *c : '?';
  }
  // A file that could become shorter would end us with a signal when we read on.
  const int seals = found.check == PageCheck::fits ? fcntl(fd, F_GET_SEALS) : 0;
  if (found.check == PageCheck::fits && (seals < 0 || (seals & F_SEAL_SHRINK) == 0)) found.check = PageCheck::no_page;
  if (found.check == PageCheck::fits) {
    void* const start = mmap(nullptr, sizeof(StatisticsPage), PROT_READ, MAP_SHARED, fd, 0);
    if (start == MAP_FAILED) {
      found.check = PageCheck::no_page;
    } else {
      found.page.reset(static_cast<const StatisticsPage*>(start),
                       [](const StatisticsPage* page) { munmap(const_cast<StatisticsPage*>(page), sizeof *page); });
    }
  }
  close(fd);
  return found;
}

// Looks through the files of the threads named like the worker.
FoundPage find_page(pid_t pid) {
  const std::string link_text = "/memfd:" + std::string(kPageName) + " (deleted)";
  const std::string tasks = folder_of(pid) + "/task";
  for (const std::string& task : names_in(tasks)) {
    const std::string folder = tasks + "/" + task;
    if (read_file(folder + "/comm").value_or("") != std::string(kWorkerName) + "\n") continue;
    for (const std::string& fd : names_in(folder + "/fd")) {
      const std::string path = folder + "/fd/" + fd;
      if (link_of(path) != link_text) continue;
      FoundPage found = map_page(path);
      if (found.check != PageCheck::no_page) return found;
    }
  }
  return {};
}

Target describe_gone(pid_t pid) {
  Target target;
  target.pid = pid;
  target.complaint = "there is no process " + std::to_string(pid);
  return target;
}

Target describe_forbidden(pid_t pid, Target target) {
  target.state = TargetState::forbidden;
  const std::string who = std::to_string(pid) + " (" + target.program + ")";
  struct stat state;
  const bool ours = stat(folder_of(pid).c_str(), &state) == 0 && state.st_uid == geteuid();
  target.complaint =
      ours ? "process " + who + " does not let itself be looked at (see prctl(2), PR_SET_DUMPABLE)"
           : "process " + who + " belongs to user " + owner_of(pid) + "; only that user and root may look at it";
  return target;
}

std::string version_here() {
  return std::to_string(PM_VERSION_MAJOR) + "." + std::to_string(PM_VERSION_MINOR) + "." +
         std::to_string(PM_VERSION_PATCH);
}

}  // namespace

Target open_target(pid_t pid) {
  const std::vector<std::string> fields = stat_fields(pid);
  if (fields.empty()) return describe_gone(pid);
  Target target;
  target.pid = pid;
  target.program = name_of_process(pid);
  const std::string who = "process " + std::to_string(pid) + " (" + target.program + ")";
  if (fields[0] == "Z" || fields[0] == "X") {
    target.complaint = who + " has ended";
    return target;
  }
  FoundPage found = find_page(pid);
  const std::optional<std::string> maps = read_file(folder_of(pid) + "/maps");
  if (!maps && (errno == EACCES || errno == EPERM)) return describe_forbidden(pid, std::move(target));
  if (!maps) return describe_gone(pid);
  const std::vector<MappedFile> files = mapped_files(*maps);
  for (const MappedFile& file : files) {
    if (file.name.rfind("libpoolmalloc.so", 0) == 0) target.library = file.path;
  }
  target.version = found.version;
  if (found.check == PageCheck::fits) {
    target.state = TargetState::published;
    target.page = std::move(found.page);
  } else if (found.check == PageCheck::other_version) {
    target.state = TargetState::other_version;
    const bool same_number = found.version == version_here();
    target.complaint =
        who + (same_number ? " runs another build of poolmalloc " + found.version +
                                 ", whose statistics this command cannot read: use the command of that build"
                           : " runs poolmalloc " + found.version + ", and this command is of " + version_here() +
                                 ": use the command that came with it");
  } else if (!target.library.empty()) {
    target.state = TargetState::unpublished;
    target.complaint = who + " runs on poolmalloc, but " + reason_without_page(pid);
  } else if (files.empty() && link_of(folder_of(pid) + "/exe").empty()) {
    target.state = TargetState::foreign;
    target.allocator = "the kernel's";
    target.complaint = who + " is a thread of the kernel";
  } else {
    target.state = TargetState::foreign;
    target.allocator = allocator_of(files);
    target.complaint = who + " does not run on poolmalloc but on " + target.allocator +
                       "; start it with: poolmalloc run " + target.program;
  }
  return target;
}

std::vector<Target> find_targets(unsigned* hidden) {
  std::vector<Target> targets;
  unsigned unseen = 0;
  for (const std::string& name : names_in("/proc")) {
    const std::optional<pid_t> pid = as_number(name);
    if (!pid || *pid == getpid()) continue;
    Target target = open_target(*pid);
    if (target.state == TargetState::forbidden) ++unseen;
    const bool ours = target.state == TargetState::published || target.state == TargetState::unpublished ||
                      target.state == TargetState::other_version;
    if (ours) targets.push_back(std::move(target));
  }
  std::sort(targets.begin(), targets.end(), [](const Target& a, const Target& b) { return a.pid < b.pid; });
  if (hidden != nullptr) *hidden = unseen;
  return targets;
}

namespace {

std::optional<Target> choose(std::optional<pid_t> pid, bool needs_page) {
  const auto fail = [](const std::string& why) {
    std::fprintf(stderr, "poolmalloc: %s\n", why.c_str());
    return std::optional<Target>();
  };
  const auto serves = [&](const Target& target) {
    return target.state == TargetState::published ||
           (!needs_page && (target.state == TargetState::unpublished || target.state == TargetState::other_version));
  };
  if (pid) {
    Target target = open_target(*pid);
    if (!serves(target)) return fail(target.complaint);
    return target;
  }
  std::vector<Target> targets = find_targets();
  if (targets.empty()) return fail("no process that you may look at runs on poolmalloc");
  if (targets.size() == 1) {
    if (!serves(targets[0])) return fail(targets[0].complaint);
    return std::move(targets[0]);
  }
  std::vector<const Target*> candidates;
  for (const Target& target : targets) {
    if (serves(target)) candidates.push_back(&target);
  }
  if (candidates.size() == 1) return *candidates[0];
  std::string list;
  for (const Target& target : targets) {
    list += (list.empty() ? "" : ", ") + std::to_string(target.pid) + " (" + target.program + ")";
  }
  return fail(std::to_string(targets.size()) + " processes run on poolmalloc; name one of " + list);
}

}  // namespace

std::optional<Target> choose_target(std::optional<pid_t> pid) { return choose(pid, true); }
std::optional<Target> choose_process(std::optional<pid_t> pid) { return choose(pid, false); }

bool read_page(const Target& target, PageBody& out) {
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    if (page_read(*target.page, out)) return true;
    usleep(10'000);
  }
  std::fprintf(stderr, "poolmalloc: process %d (%s) has stopped in the middle of writing its statistics\n", target.pid,
               target.program.c_str());
  return false;
}

bool read_snapshot(const Target& target, Snapshot& out) {
  const auto body = std::make_unique<PageBody>();
  if (!read_page(target, *body)) return false;
  out = body->snapshot;
  return true;
}

bool is_alive(const Target& target) {
  const std::vector<std::string> fields = stat_fields(target.pid);
  return !fields.empty() && fields[0] != "Z" && fields[0] != "X";
}

ProcessAge process_age(pid_t pid) {
  constexpr size_t kStartTime = 22 - 3;
  const std::vector<std::string> fields = stat_fields(pid);
  timespec now;
  if (fields.size() <= kStartTime || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return {0, 0};
  const uint64_t ticks = std::strtoull(fields[kStartTime].c_str(), nullptr, 10);
  const auto a_second = static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  const auto up = static_cast<uint64_t>(now.tv_sec);
  const uint64_t started = ticks / a_second;
  const uint64_t age = up > started ? up - started : 0;
  return {static_cast<uint64_t>(time(nullptr)) - age, age};
}

}  // namespace pm
