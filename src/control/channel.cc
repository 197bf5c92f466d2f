#include "control/channel.h"

#include <poll.h>

#include <cerrno>
#include <cstring>

#include "os/files.h"
#include "os/process.h"
#include "os/thread.h"

namespace pm {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kPatienceNs = 1000 * kMs;
// How soon to look again while a request is on its way.
constexpr uint64_t kSoonNs = 5 * kMs;
constexpr unsigned kBacklog = 64;
constexpr unsigned kMostAccepts = 64;  // in one look

bool is_welcome(const os::Peer& peer) {
  return (peer.user == os::effective_user() || peer.user == 0) && os::shares_pid_namespace(peer.process);
}

}  // namespace

int ControlChannel::open(int process) {
  char name[os::kMostSocketName];
  TextWriter out(name);
  filters_ = os::seccomp_filters();
  out.text("poolmalloc-").number(static_cast<unsigned>(process));
  listener_ = os::listen_abstract(out.c_str(), kBacklog);
  if (listener_ != -EADDRINUSE) return listener_ < 0 ? listener_ : 0;
  out.text("-").number(os::pid_namespace());
  listener_ = os::listen_abstract(out.c_str(), kBacklog);
  return listener_ < 0 ? listener_ : 0;
}

void ControlChannel::refuse(int fd, const char* why) {
  char line[128];
  TextWriter out(line);
  out.text("error ").text(why).text("\n");
  os::send_now(fd, out.data(), out.size());
  // What the peer has sent already is taken off, a bounded part of it: else the end reads as a broken connection.
  char waste[1024];
  int passed = -1;
  for (int i = 0; i < 16 && os::receive(fd, waste, sizeof waste, passed) > 0; ++i) {
  }
  if (passed >= 0) os::close_file(passed);
  os::close_file(fd);
}

void ControlChannel::finish(Connection& connection) {
  if (connection.job.file >= 0) os::close_file(connection.job.file);
  os::close_file(connection.fd);
  connection.fd = -1;
}

void ControlChannel::accept_all(uint64_t now_ns) {
  // First a call that the thread makes all the time: in a sandbox that has just come over it, accept may be death.
  pollfd entry = {listener_, POLLIN, 0};
  if (os::wait_for_files(&entry, 1, 0) <= 0 || os::seccomp_filters() != filters_) return;
  unsigned place = 0;
  for (unsigned i = 0; i < kMostAccepts; ++i) {
    while (place < kConnections && connections_[place].fd >= 0) ++place;
    if (place == kConnections) return;  // the others wait in the kernel
    os::Peer peer;
    if (os::accept_peer(listener_, peer) < 0) return;
    if (!is_welcome(peer)) {
      refuse(peer.fd, "only this process's user and root may ask, from its own PID namespace");
      continue;
    }
    Connection& connection = connections_[place];
    connection.fd = peer.fd;
    connection.working = false;
    connection.since_ns = now_ns;
    connection.length = 0;
    connection.job.file = -1;
  }
}

void ControlChannel::give_up(Connection& connection, const char* why) {
  if (connection.job.file >= 0) os::close_file(connection.job.file);
  refuse(connection.fd, why);
  connection.fd = -1;
}

void ControlChannel::read_request(Connection& connection, uint64_t now_ns) {
  char* const end = connection.line + connection.length;
  const long got = os::receive(connection.fd, end, kMostRequest - connection.length, connection.job.file);
  if (got == -EAGAIN) {
    if (now_ns - connection.since_ns > kPatienceNs) give_up(connection, "the request took more than a second");
    return;
  }
  if (got <= 0) return give_up(connection, "the request has no end of line");
  connection.length += static_cast<size_t>(got);
  const void* const newline = memchr(end, '\n', static_cast<size_t>(got));
  if (newline != nullptr) {
    take_line(connection, static_cast<size_t>(static_cast<const char*>(newline) - connection.line));
  } else if (connection.length == kMostRequest) {
    give_up(connection, "the request is longer than 512 bytes");
  }
}

void ControlChannel::take_line(Connection& connection, size_t size) {
  if (size + 1 != connection.length) return give_up(connection, "a connection is for one request");
  char buffer[256];
  TextWriter reason(buffer);
  ControlJob& job = connection.job;
  job.stage = 0;
  job.wanted = 0;
  job.done = 0;
  connection.working = parse_request(connection.line, size, job.request, reason);
  if (!connection.working) give_up(connection, reason.c_str());
}

void ControlChannel::work(Connection& connection, ControlAnswer answer) {
  char buffer[kMostReply];
  TextWriter reply(buffer);
  if (!answer(connection.job, reply)) return;
  // An empty socket takes a reply of this size whole; one that its peer has closed takes nothing.
  os::send_now(connection.fd, reply.data(), reply.size());
  finish(connection);
}

uint64_t ControlChannel::look(uint64_t now_ns, ControlAnswer answer) {
  if (!is_open()) return kNever;
  accept_all(now_ns);
  uint64_t next = kNever;
  unsigned taken = 0;
  for (Connection& connection : connections_) {
    if (connection.fd < 0) continue;
    ++taken;
    if (!connection.working) read_request(connection, now_ns);
    if (connection.fd >= 0 && connection.working) work(connection, answer);
    if (connection.fd >= 0) next = connection.working ? 0 : next < kSoonNs ? next : kSoonNs;
  }
  // There may be more of them than places.
  return taken == kConnections && next > kSoonNs ? kSoonNs : next;
}

void ControlChannel::close() {
  for (Connection& connection : connections_) {
    if (connection.fd >= 0) finish(connection);
  }
  if (listener_ >= 0) os::close_file(listener_);
  listener_ = -1;
}

}  // namespace pm
