// The control channel: an abstract Unix socket named after the process, on which its worker answers one request a
// connection.
//
//   name      "poolmalloc-<pid>"; where another process has that (a container's, in the same network namespace),
//             "poolmalloc-<pid>-<inode of our PID namespace>"
//   who       peers of our own effective user or root, from our own PID namespace: anybody else gets an error line
//   request   one line of at most kMostRequest bytes, within a second (control/request.h)
//   reply     "ok[ TEXT]\n" or "error TEXT\n", then further lines, then the end
//
// Nothing here waits: a look takes what is there, does at most one slice of each request that is under way, and says
// when it wants to be called again. A peer can make the owner of the channel do no more than that at a time, and hold
// one of kConnections places for a second.
//
// Not synchronised: one thread, with a table of files that nobody else touches. No allocation. Needs close() at the
// end.
#pragma once

#include <cstddef>
#include <cstdint>

#include "control/request.h"
#include "os/sockets.h"

namespace pm {

// A request under way. Zero at first but for the request; what the answer keeps from one slice to the next is in here.
struct ControlJob {
  Request request;
  int file;  // descriptor that came with the request; -1: none. The channel closes it
  unsigned stage;
  uint64_t wanted;
  uint64_t present;
  uint64_t done;
};

// Does a slice. True when all is done and the reply is written: the first line and the rest, each with its newline.
using ControlAnswer = bool (*)(ControlJob& job, TextWriter& reply);

class ControlChannel {
 public:
  static constexpr uint64_t kNever = UINT64_MAX;

  // Listens. 0, or -errno; -EADDRINUSE may pass.
  int open(int process);
  bool is_open() const { return listener_ >= 0; }
  // Nanoseconds until the next look is wanted; kNever if only new peers matter.
  uint64_t look(uint64_t now_ns, ControlAnswer answer);
  void close();

 private:
  static constexpr unsigned kConnections = 8;
  static constexpr size_t kMostReply = 16 * 1024;

  struct Connection {
    int fd = -1;  // -1: free
    bool working = false;
    uint64_t since_ns = 0;
    size_t length = 0;
    char line[kMostRequest];
    ControlJob job = {};
  };

  void accept_all(uint64_t now_ns);
  void read_request(Connection& connection, uint64_t now_ns);
  void take_line(Connection& connection, size_t size);
  void work(Connection& connection, ControlAnswer answer);
  static void refuse(int fd, const char* why);
  static void give_up(Connection& connection, const char* why);
  static void finish(Connection& connection);

  int listener_ = -1;
  uint32_t filters_ = 0;  // of seccomp, when it was opened
  Connection connections_[kConnections];
};

}  // namespace pm
