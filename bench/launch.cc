// Runs one program and writes what it cost as JSON:
//   bench-launch RESULT [--tree] [NAME=VALUE...] -- program arguments...
//
// A process of its own, for two reasons. The kernel counts the memory of whoever called exec in the peak of the new
// program, so the launcher must be smaller than anything it measures (a Python script is not). And NAME=VALUE,
// LD_PRELOAD above all, is set for the program alone: nothing that measures runs on the allocator that is measured.
//
// Resident memory is sampled every 20 ms: of the program, or with --tree of all its descendants together, for programs
// that work through others (a compiler driver, make).
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace {

constexpr int kSampleMilliseconds = 20;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "bench-launch: %s: %s\n", what, std::strerror(errno));
  std::exit(125);
}

double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

bool read_process_file(pid_t process, const char* file, char* text, size_t size) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/%s", process, file);
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return false;
  const ssize_t length = read(descriptor, text, size - 1);
  close(descriptor);
  if (length <= 0) return false;
  text[length] = '\0';
  return true;
}

long resident_kib(pid_t process) {
  char text[256];
  long mapped = 0;
  long resident = 0;
  if (!read_process_file(process, "statm", text, sizeof text)) return 0;
  if (std::sscanf(text, "%ld %ld", &mapped, &resident) != 2) return 0;
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

pid_t parent_of(pid_t process) {
  char text[512];
  if (!read_process_file(process, "stat", text, sizeof text)) return 0;
  // The name, in parentheses, may itself hold spaces and parentheses: the fields go on after the last one.
  const char* name_end = std::strrchr(text, ')');
  char state = 0;
  pid_t parent = 0;
  if (name_end == nullptr || std::sscanf(name_end + 1, " %c %d", &state, &parent) != 2) return 0;
  return parent;
}

long tree_resident_kib(pid_t root) {
  struct Link {
    pid_t process;
    pid_t parent;
  };
  static std::vector<Link> links;
  static std::vector<pid_t> tree;
  links.clear();
  tree.assign(1, root);
  DIR* directory = opendir("/proc");
  if (directory == nullptr) fail("/proc");
  while (const dirent* entry = readdir(directory)) {
    const pid_t process = std::atoi(entry->d_name);
    if (process > 0) links.push_back({process, parent_of(process)});
  }
  closedir(directory);
  long sum = 0;
  for (size_t i = 0; i < tree.size(); ++i) {
    sum += resident_kib(tree[i]);
    for (const Link& link : links) {
      if (link.parent == tree[i]) tree.push_back(link.process);
    }
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  int at = 2;
  bool tree = false;
  if (at < argc && std::string_view(argv[at]) == "--tree") {
    tree = true;
    ++at;
  }
  const int first_variable = at;
  while (at < argc && std::string_view(argv[at]) != "--") ++at;
  if (at + 1 >= argc) {
    std::fputs("usage: bench-launch RESULT [--tree] [NAME=VALUE...] -- program arguments...\n", stderr);
    return 125;
  }
  FILE* result = std::fopen(argv[1], "we");
  if (result == nullptr) fail(argv[1]);

  const double start = seconds();
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a measurement that is given up leaves nothing running
    for (int i = first_variable; i < at; ++i) putenv(argv[i]);
    execvp(argv[at + 1], argv + at + 1);
    fail(argv[at + 1]);
  }

  pollfd ended = {static_cast<int>(syscall(SYS_pidfd_open, child, 0)), POLLIN, 0};
  if (ended.fd < 0) fail("pidfd_open");
  std::vector<long> samples;
  for (;;) {
    const int ready = poll(&ended, 1, kSampleMilliseconds);
    if (ready < 0 && errno != EINTR) fail("poll");
    if (ready > 0) break;
    const long sample = tree ? tree_resident_kib(child) : resident_kib(child);
    if (sample > 0) samples.push_back(sample);  // zero: it has just ended
  }
  int status = 0;
  rusage usage;
  if (wait4(child, &status, 0, &usage) != child) fail("wait4");
  const double wall = seconds() - start;

  long peak = usage.ru_maxrss;
  double sum = 0;
  for (const long sample : samples) {
    sum += static_cast<double>(sample);
    if (tree) peak = std::max(peak, sample);
  }
  // A program that ended before the first sample was all peak.
  const double average = samples.empty() ? static_cast<double>(peak) : sum / static_cast<double>(samples.size());
  std::fprintf(result,
               "{\"exit\":%d,\"signal\":%d,\"wall\":%.6f,\"cpu\":%.6f,\"user\":%.6f,\"system\":%.6f,\"peak_kib\":%ld,"
               "\"average_kib\":%.0f,\"minor_faults\":%ld,\"major_faults\":%ld,\"sample_ms\":%d,\"samples_kib\":[",
               WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0, wall,
               seconds(usage.ru_utime) + seconds(usage.ru_stime), seconds(usage.ru_utime), seconds(usage.ru_stime),
               peak, average, usage.ru_minflt, usage.ru_majflt, kSampleMilliseconds);
  for (size_t i = 0; i < samples.size(); ++i) std::fprintf(result, "%s%ld", i == 0 ? "" : ",", samples[i]);
  std::fputs("]}\n", result);
  return std::fclose(result) == 0 ? 0 : 125;
}
