#include "preload/launcher/profile_source.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "preload/launcher/control_client.h"
#include "preload/launcher/output_file.h"

namespace pm {
namespace {

bool complain(const std::string& line) {
  std::fprintf(stderr, "poolmalloc: %s\n", line.c_str());
  return false;
}

bool ask_or_complain(pid_t pid, const std::string& request, int fd = -1) {
  const ControlReply reply = ask(pid, request, fd);
  if (!reply.ok) return complain(reply.text);
  // What the process says of itself is for people; a dump goes elsewhere.
  return reply.text.empty() || fd >= 0 || print_output(reply.text + "\n") == 0;
}

// The process writes the dump into memory of ours, so that a full disk is met by this command and not by the process.
bool dump_process(pid_t pid, std::string& text) {
  const int fd = memfd_create("poolmalloc-profile", MFD_CLOEXEC);
  if (fd < 0) return complain(std::string("cannot make room for the profile: ") + std::strerror(errno));
  const bool read = ask_or_complain(pid, "prof dump", fd) && lseek(fd, 0, SEEK_SET) == 0 &&
                    read_input("/proc/self/fd/" + std::to_string(fd), text);
  close(fd);
  return read;
}

}  // namespace

std::optional<pid_t> process_meant(const std::string& source) {
  pid_t pid;
  const char* end = source.data() + source.size();
  const auto [rest, error] = std::from_chars(source.data(), end, pid);
  if (error != std::errc() || rest != end || pid <= 0 || access(source.c_str(), F_OK) == 0) return {};
  return pid;
}

bool start_profile(pid_t pid, uint64_t period) {
  return ask_or_complain(pid, period == 0 ? "prof start" : "prof start " + std::to_string(period));
}

bool stop_profile(pid_t pid) { return ask_or_complain(pid, "prof stop"); }

bool load_profile(const std::string& source, std::string& text, HeapProfile& profile) {
  const auto pid = process_meant(source);
  if (!(pid ? dump_process(*pid, text) : read_input(source, text))) return false;
  ProfileError error;
  if (parse_profile(text, profile, error)) return true;
  const std::string name = pid ? "the profile of process " + source : source == "-" ? "stdin" : source;
  return complain(name + ", line " + std::to_string(error.line) + ": " + error.what);
}

}  // namespace pm
