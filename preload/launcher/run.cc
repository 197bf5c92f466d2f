#include "preload/launcher/run.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/options.h"
#include "preload/launcher/process.h"

namespace pm {
namespace {

constexpr int kBadRequest = 2;
constexpr int kCannotExecute = 126;
constexpr int kNotFound = 127;
constexpr int kSignalBase = 128;

void complain(const std::string& line) { std::fprintf(stderr, "poolmalloc: %s\n", line.c_str()); }

// The environment of the program to be started, as NAME=value strings.
class Environment {
 public:
  Environment() {
    for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
      variables_.emplace_back(*variable);
    }
  }

  std::optional<std::string> get(const std::string& name) const {
    for (const std::string& variable : variables_) {
      if (variable.compare(0, name.size() + 1, name + "=") == 0) return variable.substr(name.size() + 1);
    }
    return {};
  }

  void set(const std::string& name, const std::string& value) {
    for (std::string& variable : variables_) {
      if (variable.compare(0, name.size() + 1, name + "=") != 0) continue;
      variable = name + "=" + value;
      return;
    }
    variables_.push_back(name + "=" + value);
  }

  // Null-terminated; valid until the next set().
  std::vector<char*> pointers() {
    std::vector<char*> pointers;
    for (std::string& variable : variables_) pointers.push_back(variable.data());
    pointers.push_back(nullptr);
    return pointers;
  }

 private:
  std::vector<std::string> variables_;
};

std::string variable_name(size_t option) {
  char buffer[64];
  TextWriter out(buffer);
  write_variable_name(option, out);
  return out.c_str();
}

// Puts one name=value into the environment; false, with one line said, if it is not a setting the library would take.
bool apply_setting(const std::string& setting, Environment& environment) {
  const size_t equals = setting.find('=');
  if (equals == std::string::npos) {
    complain("--set " + setting + " is not name=value");
    return false;
  }
  const int option = find_option(setting.data(), equals);
  if (option < 0) {
    complain(setting + ": " + setting.substr(0, equals) + " is not an option; see poolmalloc options");
    return false;
  }
  const std::string value = setting.substr(equals + 1);
  Options scratch = {};
  char buffer[256];
  TextWriter reason(buffer);
  if (!set_option(scratch, static_cast<size_t>(option), value.c_str(), reason)) {
    complain(setting + " " + reason.c_str());
    return false;
  }
  environment.set(variable_name(static_cast<size_t>(option)), value);
  return true;
}

// The library's absolute path without symbolic links, or nothing with one line said.
std::optional<std::string> find_library(const std::string& given) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> candidates;
  if (!given.empty()) {
    candidates.emplace_back(given);
  } else {
    // Beside this tool: installed as <prefix>/bin and <prefix>/<libdir>, built as preload/launcher and preload.
    const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
    candidates = {folder / ".." / POOLMALLOC_LIBDIR / "libpoolmalloc.so", folder / ".." / "libpoolmalloc.so"};
  }
  std::string tried;
  for (const fs::path& candidate : candidates) {
    const fs::path path = fs::canonical(candidate, error);
    if (error || !fs::is_regular_file(path, error)) {
      tried += (tried.empty() ? "" : " and ") + candidate.lexically_normal().string();
      continue;
    }
    if (path.string().find_first_of(" :") != std::string::npos) {
      complain(path.string() + " has a space or a colon in its path, which LD_PRELOAD cannot name");
      return {};
    }
    return path.string();
  }
  complain("no library at " + tried + (given.empty() ? "; name it with --library" : ""));
  return {};
}

// Appends the library to LD_PRELOAD, after what is there, unless it is there already.
void append_preload(const std::string& library, Environment& environment) {
  const std::string present = environment.get("LD_PRELOAD").value_or("");
  for (size_t start = 0; start < present.size();) {
    const size_t end = std::min(present.find_first_of(" :", start), present.size());
    if (present.compare(start, end - start, library) == 0) return;
    start = end + 1;
  }
  environment.set("LD_PRELOAD", present.empty() ? library : present + ":" + library);
}

// The signals that mean the program, whoever they are sent to. SIGCHLD is among them to wake the loop below.
sigset_t relayed_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal :
       {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGTSTP, SIGCONT, SIGCHLD}) {
    sigaddset(&set, signal);
  }
  return set;
}

// Says once whether the library is in the program; remembers what it still waits for.
class Check {
 public:
  Check(pid_t pid, std::string program, std::string library, bool quiet)
      : pid_(pid), program_(std::move(program)), library_(std::move(library)), quiet_(quiet) {}

  bool is_over() const { return over_; }

  void look() {
    // Not at once: a small program is over in less than a millisecond, and the look at its mappings is what counts.
    if (++looks_ == kHastyLooks) {
      const std::string why_not = obstacle(pid_, library_);
      if (!why_not.empty()) return say("not active in ", ": " + why_not);
    }
    switch (look_for_library(pid_, library_)) {
      case Presence::mapped: return say("active in ", {});
      case Presence::absent: return say("not active in ", ": its dynamic loader did not take the library");
      case Presence::unreadable:
        return say(
            "cannot tell whether it is active in ",
            ": the program hides its mappings, as those do that run with other rights (setuid), where LD_PRELOAD "
            "is ignored");
      case Presence::gone: return;  // the loop learns it from SIGCHLD
      case Presence::pending:
        if (looks_ == kMostLooks) say("not active in ", ": it was not mapped in time");
    }
  }

  void ended() {
    if (!over_) say("", " ended before its mappings could be checked");
  }

  timespec pause() const { return {0, looks_ < kHastyLooks ? 0 : 20'000'000}; }

 private:
  static constexpr int kHastyLooks = 100;
  static constexpr int kMostLooks = kHastyLooks + 250;  // about five seconds

  void say(const char* before, const std::string& after) {
    over_ = true;
    if (!quiet_) complain(before + program_ + " (pid " + std::to_string(pid_) + ")" + after);
  }

  pid_t pid_;
  std::string program_;
  std::string library_;
  bool quiet_;
  bool over_ = false;
  int looks_ = 0;
};

// Relays signals until the program has ended; returns its exit code.
int stand_in_for(pid_t pid, const sigset_t& relayed, Check& check) {
  for (;;) {
    siginfo_t info;
    int signal;
    if (check.is_over()) {
      signal = sigwaitinfo(&relayed, &info);
    } else {
      const timespec pause = check.pause();
      signal = sigtimedwait(&relayed, &info, &pause);
      if (signal < 0 && errno == EAGAIN) check.look();
    }
    if (signal < 0) continue;
    if (signal != SIGCHLD) {
      // What the terminal sends, the kernel sends to the whole foreground group: the program has it already.
      if (info.si_code <= 0) kill(pid, signal);
      continue;
    }
    int status;
    while (waitpid(pid, &status, WNOHANG | WUNTRACED) == pid) {
      if (WIFSTOPPED(status)) {
        raise(SIGSTOP);  // a stopped job for the shell too; its SIGCONT is relayed
        continue;
      }
      check.ended();
      return WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
    }
  }
}

}  // namespace

int run(const RunRequest& request) {
  Environment environment;
  const auto library = find_library(request.library);
  if (!library) return kBadRequest;
  append_preload(*library, environment);
  if (!request.quiet && !environment.get("POOLMALLOC_VERBOSE")) environment.set("POOLMALLOC_VERBOSE", "1");
  for (const std::string& setting : request.settings) {
    if (!apply_setting(setting, environment)) return kBadRequest;
  }

  // Blocked before the program exists, so that none is lost; the program itself starts with the mask we came with.
  const sigset_t relayed = relayed_signals();
  sigset_t original;
  sigprocmask(SIG_BLOCK, &relayed, &original);
  signal(SIGCHLD, SIG_DFL);  // if it came to us ignored, there would be no exit code
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &original);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);

  std::vector<std::string> arguments = request.command;
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid;
  const int error = posix_spawnp(&pid, argv[0], nullptr, &attributes, argv.data(), environment.pointers().data());
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    complain("cannot execute " + request.command[0] + ": " + std::strerror(error));
    return error == ENOENT ? kNotFound : kCannotExecute;
  }

  Check check(pid, std::filesystem::path(request.command[0]).filename().string(), *library, request.quiet);
  check.look();
  return stand_in_for(pid, relayed, check);
}

}  // namespace pm
