#include "preload/launcher/control_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "preload/launcher/target.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

constexpr size_t kMostReply = 1 << 20;
constexpr int kStepMs = 200;  // between looks whether the process still runs

std::string process(pid_t pid) { return "process " + std::to_string(pid); }
std::string proc(pid_t pid, const std::string& file) { return "/proc/" + std::to_string(pid) + "/" + file; }

// The whole file, or nothing if it cannot be read.
std::optional<std::string> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return {};
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return {};
  return text;
}

// As in /proc/PID/stat, behind the program's name: R, S, T, Z, ...; '\0' if there is no such process.
char state_of(pid_t pid) {
  const std::string stat = contents(proc(pid, "stat")).value_or("");
  const size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= stat.size() ? '\0' : stat[name_end + 2];
}

bool is_gone(pid_t pid) {
  const char state = state_of(pid);
  return state == '\0' || state == 'Z' || state == 'X';
}

uint64_t inode_of(const std::string& path) {
  struct stat state;
  return stat(path.c_str(), &state) == 0 ? state.st_ino : 0;
}

bool shares_namespace(pid_t pid, const std::string& kind) {
  const uint64_t theirs = inode_of(proc(pid, "ns/" + kind));
  return theirs == 0 || theirs == inode_of("/proc/self/ns/" + kind);
}

// A variable as the process was started with it.
std::string variable(const std::string& environment, const std::string& name) {
  const std::string all = '\0' + environment;
  const size_t at = all.find('\0' + name + "=");
  if (at == std::string::npos) return {};
  const size_t start = at + name.size() + 2;
  return all.substr(start, all.find('\0', start) - start);
}

bool has_worker(pid_t pid) {
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator(proc(pid, "task"), error)) {
    if (contents(task.path().string() + "/comm") == std::string(kWorkerName) + "\n") return true;
  }
  return false;
}

// Text that no terminal takes for commands.
std::string plain(std::string text) {
  for (char& c : text) {
    if ((c < ' ' || c > '~') && c != '\n') c = '?';
  }
  return text;
}

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(Socket&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

// Connected to the process itself, or nothing: -errno in `error`, 0 where only others have the name.
std::optional<Socket> connect_to(pid_t pid, const std::string& name, int& error) {
  Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const timeval patience = {10, 0};
  setsockopt(socket.fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    error = errno;
    return {};
  }
  ucred peer{};
  socklen_t peer_size = sizeof peer;
  getsockopt(socket.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &peer_size);
  error = 0;
  if (peer.pid != pid || (peer.uid != geteuid() && geteuid() != 0)) return {};
  return socket;
}

bool send_request(int fd, const std::string& line, int passed) {
  iovec part = {const_cast<char*>(line.data()), line.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (passed >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &passed, sizeof passed);
  }
  return sendmsg(fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(line.size());
}

uint64_t now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

ControlReply complaint(const std::string& text) { return {false, text, {}}; }

ControlReply take_reply(pid_t pid, int fd, unsigned seconds) {
  const uint64_t deadline = now_ms() + uint64_t{seconds} * 1000;
  std::string text;
  for (;;) {
    pollfd entry = {fd, POLLIN, 0};
    const int ready = poll(&entry, 1, kStepMs);
    if (ready > 0) {
      char piece[4096];
      const ssize_t got = read(fd, piece, sizeof piece);
      if (got <= 0 || text.size() > kMostReply) break;
      text.append(piece, static_cast<size_t>(got));
      continue;
    }
    const char state = state_of(pid);
    if (state == 'T' || state == 't') return complaint(process(pid) + " is stopped, so it cannot answer");
    if (now_ms() > deadline) {
      return complaint(process(pid) + " did not answer within " + std::to_string(seconds) + " s");
    }
  }
  const size_t end = text.find('\n');
  if (end == std::string::npos) {
    return complaint(process(pid) + (is_gone(pid) ? " ended before it answered" : " broke off without an answer"));
  }
  const std::string first = plain(text.substr(0, end));
  if (first.rfind("error ", 0) == 0) return complaint(process(pid) + ": " + first.substr(6));
  if (first != "ok" && first.rfind("ok ", 0) != 0) {
    return complaint(process(pid) + " gave an answer that this command does not understand");
  }
  return {true, first.size() > 3 ? first.substr(3) : "", plain(text.substr(end + 1))};
}

}  // namespace

std::string why_silent(pid_t pid) {
  const Target target = open_target(pid);
  if (target.state != TargetState::published && target.state != TargetState::unpublished) return target.complaint;
  const std::string me = process(pid) + " (" + printable(target.program) + ")";
  if (!shares_namespace(pid, "pid") || !shares_namespace(pid, "net")) {
    return me + " lives in a container's namespaces: run this command in there";
  }
  const std::string environment = contents(proc(pid, "environ")).value_or("");
  const std::string control = variable(environment, "POOLMALLOC_CONTROL");
  if (variable(environment, "POOLMALLOC_ENABLED") == "0") return me + " was started with POOLMALLOC_ENABLED=0";
  if (control == "off") return me + " does not listen: it was started with POOLMALLOC_CONTROL=off";
  if (control.empty() && variable(environment, "POOLMALLOC_PRESET") == "lean") {
    return me + " does not listen: POOLMALLOC_PRESET=lean says so; POOLMALLOC_CONTROL=on overrules it";
  }
  if (variable(environment, "POOLMALLOC_WORKER") == "off") {
    return me + " has nobody to answer: it was started with POOLMALLOC_WORKER=off";
  }
  if (!has_worker(pid)) {
    return me + " has nobody to answer yet, because it is young or small: start it with POOLMALLOC_WORKER=always";
  }
  return me + " does not listen, as another version of poolmalloc, or one in a sandbox of its own";
}

ControlReply ask(pid_t pid, const std::string& request, int fd, unsigned seconds) {
  // A worker takes a moment to listen after it has started.
  constexpr int kTries = 5;
  const std::string name = "poolmalloc-" + std::to_string(pid);
  const std::string other = name + "-" + std::to_string(inode_of(proc(pid, "ns/pid")));
  for (int i = 0; i < kTries; ++i) {
    int error = 0;
    for (const std::string& candidate : {name, other}) {
      const std::optional<Socket> socket = connect_to(pid, candidate, error);
      if (!socket) continue;
      send_request(socket->fd(), request + "\n", fd);
      return take_reply(pid, socket->fd(), seconds);
    }
    if (error == EAGAIN) return complaint(process(pid) + " is asked by too many at once, or stopped");
    if (is_gone(pid) || !has_worker(pid)) break;
    usleep(kStepMs / 4 * 1000);
  }
  return complaint(why_silent(pid));
}

}  // namespace pm
