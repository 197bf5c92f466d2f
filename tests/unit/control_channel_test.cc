// channel.cc and os/sockets.cc over real sockets, with the test as the peer.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "control/channel.h"
#include "os/process.h"
#include "tests/catch.h"

namespace {

using pm::ControlChannel;
using pm::ControlJob;
using pm::TextWriter;

constexpr uint64_t kMs = 1'000'000;

unsigned slices_wanted = 1;
unsigned slices = 0;
std::string content_of_file;

// Says what it was asked; in several slices if the test wants that.
bool echo(ControlJob& job, TextWriter& reply) {
  ++slices;
  if (++job.stage < slices_wanted) return false;
  content_of_file.clear();
  if (job.file >= 0) {
    char buffer[16] = {};
    CHECK(pread(job.file, buffer, sizeof buffer - 1, 0) >= 0);
    content_of_file = buffer;
  }
  reply.text("ok ").text(job.request.argument).text("\n");
  return true;
}

class Client {
 public:
  explicit Client(const std::string& name) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path + 1, name.data(), name.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0;
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  void send(const std::string& text) {
    REQUIRE(::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  void send_with_files(const std::string& text, const std::vector<int>& files) {
    iovec part = {const_cast<char*>(text.data()), text.size()};
    msghdr message{};
    alignas(cmsghdr) char control[256] = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
    memcpy(CMSG_DATA(header), files.data(), files.size() * sizeof(int));
    REQUIRE(sendmsg(fd_, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  // What has come; "..." at the end: more may come, the channel has not closed.
  std::string reply() {
    std::string text;
    char piece[1024];
    for (;;) {
      const ssize_t got = recv(fd_, piece, sizeof piece, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) return text + "...";
      if (got <= 0) return text;
      text.append(piece, static_cast<size_t>(got));
    }
  }

 private:
  int fd_;
  bool connected_;
};

struct Listening {
  Listening() {
    slices_wanted = 1;
    slices = 0;
    REQUIRE(channel.open(getpid()) == 0);
  }
  ~Listening() { channel.close(); }
  uint64_t look(uint64_t after_ms = 0) { return channel.look((time_ms += after_ms) * kMs, echo); }

  ControlChannel channel;
  uint64_t time_ms = 1000;
  const std::string name = "poolmalloc-" + std::to_string(getpid());
};

unsigned open_files() {
  unsigned count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

TEST_CASE("one request a connection is answered in one look") {
  Listening server;
  CHECK(server.look() == ControlChannel::kNever);
  Client client(server.name);
  REQUIRE(client.connected());
  client.send("get fit\n");
  CHECK(server.look() == ControlChannel::kNever);
  CHECK(client.reply() == "ok fit\n");
  CHECK(slices == 1);
}

TEST_CASE("a request may come in pieces, but not for longer than a second") {
  Listening server;
  Client slow(server.name);
  Client silent(server.name);
  slow.send("get ");
  CHECK(server.look() < 200 * kMs);
  slow.send("fit");
  server.look(900);
  CHECK(slow.reply() == "...");
  slow.send("\n");
  server.look(50);
  CHECK(slow.reply() == "ok fit\n");
  CHECK(silent.reply() == "...");
  CHECK(server.look(100) == ControlChannel::kNever);
  CHECK(silent.reply() == "error the request took more than a second\n");
}

TEST_CASE("what is no request gets an error and nothing else") {
  Listening server;
  const auto answer = [&](const std::string& text) {
    Client client(server.name);
    client.send(text);
    shutdown(client.fd(), SHUT_WR);
    server.look();
    server.look();
    return client.reply();
  };
  CHECK(answer("bogus\n") ==
        "error there is no such request; there are ping, trim, set, get, options, prof start, prof stop, prof dump\n");
  CHECK(answer("\n") ==
        "error there is no such request; there are ping, trim, set, get, options, prof start, prof stop, prof dump\n");
  CHECK(answer("ping") == "error the request has no end of line\n");
  CHECK(answer("ping\nping\n") == "error a connection is for one request\n");
  CHECK(answer("get " + std::string(pm::kMostRequest - 5, 'a') + "\n").size() == pm::kMostRequest - 1);
  const std::string too_long = "error the request is longer than 512 bytes\n";
  CHECK(answer("get " + std::string(pm::kMostRequest - 4, 'a') + "\n") == too_long);
  CHECK(answer(std::string(100'000, 'a')) == too_long);
  CHECK(answer(std::string(100, '\0') + "\n") == "error the request is not a line of plain text\n");
  CHECK(slices == 1);
  Client gone(server.name);
  CHECK(close(dup(gone.fd())) == 0);
  CHECK(server.look() < 200 * kMs);
}

TEST_CASE("work is done in slices, and others are served between them") {
  Listening server;
  slices_wanted = 4;
  Client busy(server.name);
  busy.send("trim\n");
  CHECK(server.look() == 0);
  Client other(server.name);
  CHECK(server.look() == 0);
  CHECK(slices == 2);
  other.send("get a b\n");
  CHECK(server.look() == 0);
  CHECK(other.reply() == "error get takes one word\n");
  CHECK(busy.reply() == "...");
  CHECK(server.look() == ControlChannel::kNever);
  CHECK(busy.reply() == "ok \n");
}

TEST_CASE("more peers than places are served in turn") {
  Listening server;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(std::make_unique<Client>(server.name));
    REQUIRE(clients.back()->connected());
    clients.back()->send("get n" + std::to_string(i) + "\n");
  }
  int looks = 0;
  while (server.look() != ControlChannel::kNever) REQUIRE(++looks < 20);
  for (int i = 0; i < 50; ++i) CHECK(clients[static_cast<size_t>(i)]->reply() == "ok n" + std::to_string(i) + "\n");
}

TEST_CASE("a descriptor that comes along is handed on and closed, and so are those that nobody wants") {
  const unsigned before = open_files();
  {
    Listening server;
    char path[] = "/tmp/control_channel.XXXXXX";
    const int file = mkstemp(path);
    unlink(path);
    REQUIRE(write(file, "hello", 5) == 5);
    {
      Client client(server.name);
      client.send_with_files("ping\n", {file});
      server.look();
      CHECK(client.reply() == "ok \n");
      CHECK(content_of_file == "hello");
    }
    for (const char* text : {"bogus\n", "ping\n", "no line"}) {
      Client client(server.name);
      client.send_with_files(text, {file, file, file, file});
      client.send_with_files("more", {file});
      server.look();
      server.look(2000);
    }
    // A peer that left before it was served.
    { Client(server.name).send_with_files("ping\n", {file}); }
    server.look();
    close(file);
  }
  CHECK(open_files() == before);
}

TEST_CASE("a name that is taken is given way to, and comes free with its owner") {
  Listening server;
  ControlChannel second;
  REQUIRE(second.open(getpid()) == 0);
  ControlChannel third;
  CHECK(third.open(getpid()) == -EADDRINUSE);
  CHECK_FALSE(third.is_open());
  Client client(server.name + "-" + std::to_string(pm::os::pid_namespace()));
  CHECK(client.connected());
  second.close();
  CHECK_FALSE(Client(server.name + "-" + std::to_string(pm::os::pid_namespace())).connected());
  CHECK(third.open(getpid()) == 0);
  third.close();
  CHECK(third.look(0, echo) == ControlChannel::kNever);
}

TEST_CASE("processes of other PID namespaces are told apart") {
  CHECK(pm::os::shares_pid_namespace(getpid()));
  CHECK(pm::os::shares_pid_namespace(getppid()));
  CHECK_FALSE(pm::os::shares_pid_namespace(0));
  CHECK_FALSE(pm::os::shares_pid_namespace(-1));
  CHECK(pm::os::pid_namespace() != 0);
}

}  // namespace
