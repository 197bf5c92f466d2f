#include "os/sockets.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "os/files.h"
#include "os/process.h"
#include "os/syscall.h"

namespace pm::os {
namespace {

// How many numbers a process has in the PID namespaces from /proc's own downwards, and the first of them; 0 if
// unreadable. One: it lives in the namespace that /proc is of.
unsigned numbers_of(const char* status_path, int& first) {
  char text[4096];
  if (read_small_file(status_path, text, sizeof text) <= 0) return 0;
  const char* p = strstr(text, "\nNSpid:");
  if (p == nullptr) return 0;
  unsigned count = 0;
  for (p += text_length("\nNSpid:"); *p == '\t' || *p == ' ';) {
    while (*p == '\t' || *p == ' ') ++p;
    uint64_t number;
    if (!read_decimal(p, number)) break;
    if (count++ == 0) first = static_cast<int>(number);
  }
  return count;
}

}  // namespace

int listen_abstract(const char* name, unsigned backlog) {
  const size_t length = text_length(name);
  sockaddr_un address{};
  if (length > kMostSocketName) return -ENAMETOOLONG;
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path + 1, name, length);
  const long fd = raw_syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (failed(fd)) return static_cast<int>(fd);
  const auto bytes = static_cast<long>(offsetof(sockaddr_un, sun_path) + 1 + length);
  long result = raw_syscall(SYS_bind, fd, argument(&address), bytes);
  if (!failed(result)) result = raw_syscall(SYS_listen, fd, backlog);
  if (!failed(result)) return static_cast<int>(fd);
  close_file(static_cast<int>(fd));
  return static_cast<int>(result);
}

int accept_peer(int listener, Peer& peer) {
  const long fd = raw_syscall(SYS_accept4, listener, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (failed(fd)) return static_cast<int>(fd);
  ucred credentials{};
  uint32_t size = sizeof credentials;
  const long result = raw_syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, argument(&credentials), argument(&size));
  if (failed(result)) {
    close_file(static_cast<int>(fd));
    return static_cast<int>(result);
  }
  peer = {static_cast<int>(fd), credentials.pid, credentials.uid};
  return 0;
}

long receive(int fd, char* buffer, size_t size, int& passed) {
  // Room for one descriptor: the kernel closes what does not fit.
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part = {buffer, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_LEN(sizeof(int));
  const long result = raw_syscall(SYS_recvmsg, fd, argument(&message), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (failed(result)) return result;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len >= CMSG_LEN(sizeof(int))) {
    if (passed >= 0) close_file(passed);
    memcpy(&passed, CMSG_DATA(header), sizeof passed);
  }
  return result;
}

long send_now(int fd, const char* data, size_t size) {
  return raw_syscall(SYS_sendto, fd, argument(data), static_cast<long>(size), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
}

bool shares_pid_namespace(int process) {
  if (process <= 0) return false;
  int number = 0;
  // Our own /proc must be of our own namespace, else it numbers others' processes.
  if (numbers_of("/proc/self/status", number) != 1 || number != process_id()) return false;
  char path[32];
  TextWriter out(path);
  out.text("/proc/").number(static_cast<unsigned>(process)).text("/status");
  return numbers_of(out.c_str(), number) == 1;
}

uint64_t pid_namespace() {
  const FileFunctions& f = files();
  return f.look_up(f.context, "/proc/self/ns/pid").inode;
}

uint32_t effective_user() { return static_cast<uint32_t>(raw_syscall(SYS_geteuid)); }

}  // namespace pm::os
