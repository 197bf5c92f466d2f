// Unix stream sockets with abstract names, for a thread without a C library: raw system calls, nothing ever waits.
// Every function returns a descriptor, a count or 0, or -errno. No state; thread-safe.
//
// An abstract name belongs to the network namespace and has no permissions: whoever listens asks who is there, and
// whoever connects asks who listens.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm::os {

inline constexpr size_t kMostSocketName = 64;

// Listens under an abstract name, given without its leading zero byte. -EADDRINUSE: somebody has it.
int listen_abstract(const char* name, unsigned backlog);

struct Peer {
  int fd;
  int process;    // as this process's PID namespace numbers it; 0: it is not in there
  uint32_t user;  // effective, when it connected
};
// -EAGAIN: nobody is waiting.
int accept_peer(int listener, Peer& peer);

// Bytes, 0 at the end, -EAGAIN where there is nothing yet. A descriptor that came along is left in `passed` (else it
// stays as it was), closed on exec; of several the others are closed.
long receive(int fd, char* buffer, size_t size, int& passed);
// Sends at once, or what fits; raises no signal.
long send_now(int fd, const char* data, size_t size);

// Whether the process lives in this process's own PID namespace, and not in one below it: a container may share a
// network namespace, and its root looks like ours. False where /proc does not tell.
bool shares_pid_namespace(int process);
// A number that no other PID namespace has at the same time; 0 if unknown.
uint64_t pid_namespace();

uint32_t effective_user();

}  // namespace pm::os
