#include "preload/launcher/http.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.h"

namespace {

using pm::HttpRequest;
using pm::HttpResponse;
using pm::HttpServer;
using pm::parse_head;

int status_of(const std::string& head) {
  HttpRequest request;
  return parse_head(head, request);
}

std::string get(const std::string& more) { return "GET / HTTP/1.1\r\nHost: localhost\r\n" + more + "\r\n"; }

// A server on a thread of its own, which answers with the path.
class Running {
 public:
  Running() {
    REQUIRE(server_.listen("127.0.0.1:0").empty());
    thread_ = std::thread([this] {
      server_.run([](const HttpRequest& request) { return HttpResponse{200, "text/plain", request.path}; }, stop_);
    });
  }
  ~Running() {
    const uint64_t one = 1;
    CHECK(write(stop_, &one, sizeof one) == sizeof one);
    thread_.join();
    close(stop_);
  }
  int port() const { return std::stoi(server_.address().substr(server_.address().rfind(':') + 1)); }

 private:
  HttpServer server_;
  const int stop_ = eventfd(0, EFD_CLOEXEC);
  std::thread thread_;
};

class Client {
 public:
  explicit Client(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { close(fd_); }
  bool say(const std::string& text) const {
    return send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // Until `end` was received, or the connection ends, or nothing comes for ten seconds.
  std::string hear(const std::string& end) const {
    std::string text;
    char chunk[4096];
    while (text.size() < end.size() || text.compare(text.size() - end.size(), end.size(), end) != 0) {
      pollfd wanted = {fd_, POLLIN, 0};
      if (poll(&wanted, 1, 10'000) != 1) break;
      const ssize_t n = recv(fd_, chunk, sizeof chunk, 0);
      if (n <= 0) break;
      text.append(chunk, static_cast<size_t>(n));
    }
    return text;
  }
  bool has_ended() const {
    char byte;
    const ssize_t n = recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN);
  }

 private:
  const int fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

TEST_CASE("heads of requests are understood") {
  HttpRequest request;
  CHECK(parse_head("GET /metrics?a=b HTTP/1.1\r\nhost:  x:1 \r\nACCEPT: text/plain\r\nAccept: */*\r\n\r\n", request) ==
        0);
  CHECK(request.method == "GET");
  CHECK(request.path == "/metrics");
  CHECK(request.host == "x:1");
  CHECK(request.accept == "text/plain,*/*");
  CHECK(request.keep_alive);
  HttpRequest old;
  CHECK(parse_head("HEAD / HTTP/1.0\r\n\r\n", old) == 0);
  CHECK_FALSE(old.keep_alive);
  HttpRequest closing;
  CHECK(parse_head(get("Connection: a, Close\r\n"), closing) == 0);
  CHECK_FALSE(closing.keep_alive);
  CHECK(status_of(get("Content-Length: 0\r\n")) == 0);
}

TEST_CASE("what is no request gets the status that says why") {
  CHECK(status_of("\r\n\r\n") == 400);
  CHECK(status_of("GET /\r\n\r\n") == 400);
  CHECK(status_of("GET / / HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of("GET  HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of("GET http://x/ HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of("G\x01T / HTTP/1.1\r\n\r\n") == 400);
  CHECK(status_of(std::string("GET /\0 HTTP/1.1\r\n\r\n", 19)) == 400);
  CHECK(status_of("GET / HTTP/2.0\r\n\r\n") == 505);
  CHECK(status_of("GET / JUNK\r\n\r\n") == 400);
  CHECK(status_of("POST / HTTP/1.1\r\n\r\n") == 405);
  CHECK(status_of("GET /" + std::string(pm::kMaxTargetBytes, 'a') + " HTTP/1.1\r\n\r\n") == 414);
  CHECK(status_of(get("no colon\r\n")) == 400);
  CHECK(status_of(get(" folded: a\r\n")) == 400);
  CHECK(status_of(get("a b: c\r\n")) == 400);
  CHECK(status_of(get("Host: again\r\n")) == 400);
  CHECK(status_of(get("Content-Length: 1\r\n")) == 413);
  CHECK(status_of(get("Transfer-Encoding: chunked\r\n")) == 413);
  CHECK(status_of("GET / HTTP/1.1\r\nHost: x\r\n") == 400);  // no empty line
  CHECK(pm::head_length("GET / HTTP/1.1\r\n\r\nmore") == 18);
  CHECK(pm::head_length("GET / HTTP/1.1\r\n") == 0);
}

TEST_CASE("addresses to listen on") {
  std::string host;
  std::string port;
  CHECK((pm::split_address("127.0.0.1:80", host, port) && host == "127.0.0.1" && port == "80"));
  CHECK((pm::split_address("[::1]:65535", host, port) && host == "::1" && port == "65535"));
  CHECK((pm::split_address(":0", host, port) && host.empty() && port == "0"));
  for (const char* bad : {"", "80", "x:", "x:65536", "x:-1", "x:8 0", "::1:80", "[]:80", "x:999999"}) {
    INFO(bad);
    CHECK_FALSE(pm::split_address(bad, host, port));
  }
  HttpServer server;
  CHECK(server.listen("nonsense") == "nonsense is not an address to listen on, such as 127.0.0.1:10177");
  CHECK(server.listen("203.0.113.1:0").find("this machine has no such address") != std::string::npos);
  REQUIRE(server.listen("127.0.0.1:0").empty());
  CHECK(server.is_loopback());
  HttpServer second;
  CHECK(second.listen(server.address()) == "cannot listen on " + server.address() + ": another program listens there");
}

TEST_CASE("a connection serves several requests, also such as come together") {
  Running server;
  const Client client(server.port());
  REQUIRE(client.say("GET /a HTTP/1.1\r\n\r\nGET /bb HTTP/1.1\r\n\r\n"));
  const std::string both = client.hear("/bb");
  CHECK(both.find("\r\n\r\n/aHTTP/1.1 200 OK\r\n") != std::string::npos);
  REQUIRE(client.say("HEAD /c HTTP/1.1\r\nConnection: close\r\n\r\n"));
  const std::string head = client.hear("never");
  CHECK(head.find("Content-Length: 2\r\n") != std::string::npos);
  CHECK(head.substr(head.size() - 4) == "\r\n\r\n");
}

TEST_CASE("an endless head is refused, however it is divided") {
  Running server;
  const Client client(server.port());
  REQUIRE(client.say("GET / HTTP/1.1\r\nA: "));
  for (int i = 0; i < 64 && client.say(std::string(1000, 'a')); ++i) {
  }
  CHECK(client.hear("never").rfind("HTTP/1.1 431 ", 0) == 0);
  const Client other(server.port());
  REQUIRE(other.say("GET / HTTP/1.1\nHost: x\n\n"));
  CHECK(other.hear("never").rfind("HTTP/1.1 400 ", 0) == 0);
}

TEST_CASE("who dawdles keeps nobody waiting") {
  Running server;
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 200; ++i) {
    slow.push_back(std::make_unique<Client>(server.port()));
    REQUIRE(slow.back()->say("GET / HTTP/1.1\r\n"));
  }
  const Client client(server.port());
  REQUIRE(client.say("GET /now HTTP/1.1\r\n\r\n"));
  CHECK(client.hear("/now").rfind("HTTP/1.1 200 ", 0) == 0);
  // Who came last is answered after all were accepted. More came than the 128 that are kept, so the others are gone by
  // now, long before the time for a request's head is over.
  CHECK(std::count_if(slow.begin(), slow.end(), [](const auto& c) { return c->has_ended(); }) >= 201 - 128);
}

}  // namespace
