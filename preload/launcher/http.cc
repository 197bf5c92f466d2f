#include "preload/launcher/http.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace pm {
namespace {

constexpr size_t kMaxConnections = 128;
constexpr size_t kMaxWaitingBytes = size_t{64} << 20;  // responses that clients have not read yet
constexpr int64_t kHeadMs = 5'000;                     // for a whole head
constexpr int64_t kIdleMs = 75'000;                    // between two requests of a connection
constexpr int64_t kSendMs = 30'000;                    // for a whole response
constexpr int64_t kCloseMs = 1'000;                    // for the client to close after us

int64_t now_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

const char* reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 421: return "Misdirected Request";
    case 431: return "Request Header Fields Too Large";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
  }
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
         });
}

std::string_view trimmed(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t");
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(" \t") - start + 1);
}

// A name of a method or of a header.
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || (c != '\0' && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr);
  });
}

// Whether a comma-separated list has `word` in it.
bool lists(std::string_view text, std::string_view word) {
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (equal_ignoring_case(trimmed(text.substr(0, comma)), word)) return true;
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return false;
}

int parse_request_line(std::string_view line, HttpRequest& out) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return 400;
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || target.empty() || target.find(' ') != std::string_view::npos) return 400;
  if (version.substr(0, 5) != "HTTP/") return 400;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return 505;
  if (target.size() > kMaxTargetBytes) return 414;
  if (target.front() != '/') return 400;
  out.method = method;
  out.path = target.substr(0, target.find_first_of("?#"));
  out.keep_alive = version == "HTTP/1.1";
  return method == "GET" || method == "HEAD" ? 0 : 405;
}

// A body is not wanted by anything here, and a head that hides one is how requests are smuggled.
int parse_header(std::string_view line, HttpRequest& out) {
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return 400;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (equal_ignoring_case(name, "host")) {
    if (!out.host.empty()) return 400;
    out.host = value;
  } else if (equal_ignoring_case(name, "accept")) {
    out.accept += (out.accept.empty() ? "" : ",") + std::string(value);
  } else if (equal_ignoring_case(name, "connection")) {
    if (lists(value, "close")) out.keep_alive = false;
  } else if (equal_ignoring_case(name, "transfer-encoding")) {
    return 413;
  } else if (equal_ignoring_case(name, "content-length") && value != "0") {
    return 413;
  }
  return 0;
}

std::string head_of(const HttpResponse& response, bool keep_alive) {
  std::array<char, 64> date;
  const time_t now = time(nullptr);
  tm parts;
  gmtime_r(&now, &parts);
  const size_t length = strftime(date.data(), date.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " " + reason_of(response.status) + "\r\n";
  head += "Date: " + std::string(date.data(), length) + "\r\n";
  head += "Content-Type: " + response.type + "\r\n";
  head += "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  if (response.status == 405) head += "Allow: GET, HEAD\r\n";
  // What is inside of the page may run; nothing may be fetched from elsewhere, or put into a page of somebody else's.
  head +=
      "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
      "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
      "img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n";
  return head + (keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
}

HttpResponse error_response(int status) {
  HttpResponse response;
  response.status = status;
  response.body = std::to_string(status) + " " + reason_of(status) + "\n";
  return response;
}

bool is_loopback_address(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* const v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  const auto* const v6 = reinterpret_cast<const sockaddr_in6*>(address);
  return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

std::string numbers_of(const sockaddr* address, socklen_t length) {
  std::array<char, 64> host;
  std::array<char, 16> port;
  if (getnameinfo(address, length, host.data(), host.size(), port.data(), port.size(),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "?";
  }
  const std::string name = host.data();
  return (name.find(':') != std::string::npos ? "[" + name + "]" : name) + ":" + port.data();
}

std::string why_not(int error, const std::string& port) {
  if (error == EADDRINUSE) return "another program listens there";
  if (error == EADDRNOTAVAIL) return "this machine has no such address";
  if (error == EACCES) return "port " + port + " is for root; choose one from 1024 on";
  return std::strerror(error);
}

}  // namespace

size_t head_length(std::string_view received) {
  const size_t end = received.find("\r\n\r\n");
  return end == std::string_view::npos ? 0 : end + 4;
}

int parse_head(std::string_view head, HttpRequest& out) {
  bool is_first = true;
  while (!head.empty()) {
    const size_t end = head.find("\r\n");
    if (end == std::string_view::npos) return 400;
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (line.empty()) return is_first ? 400 : 0;
    for (const char c : line) {
      if ((static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 127) return 400;
    }
    const int wrong = is_first ? parse_request_line(line, out) : parse_header(line, out);
    if (wrong != 0) return wrong;
    is_first = false;
  }
  return 400;
}

bool split_address(const std::string& text, std::string& host, std::string& port) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return false;
  host = text.substr(0, colon);
  port = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (host.empty()) return false;
  } else if (host.find(':') != std::string::npos) {
    return false;
  }
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos) return false;
  return std::stoul(port) <= 65535;
}

HttpServer::~HttpServer() {
  for (const Connection& connection : connections_) close(connection.fd);
  if (listener_ >= 0) close(listener_);
}

std::string HttpServer::listen(const std::string& address) {
  std::string host;
  std::string port;
  if (!split_address(address, host, port)) return address + " is not an address to listen on, such as 127.0.0.1:10177";
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) return "cannot listen on " + address + ": " + gai_strerror(error);
  std::string complaint;
  for (const addrinfo* one = found; one != nullptr && listener_ < 0; one = one->ai_next) {
    const int fd = socket(one->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    // A port that was ours a moment ago is not in use.
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, one->ai_addr, one->ai_addrlen) == 0 && ::listen(fd, SOMAXCONN) == 0) {
      listener_ = fd;
      is_loopback_ = is_loopback_address(one->ai_addr);
      break;
    }
    if (complaint.empty()) complaint = "cannot listen on " + address + ": " + why_not(errno, port);
    if (fd >= 0) close(fd);
  }
  freeaddrinfo(found);
  if (listener_ < 0) return complaint;
  sockaddr_storage bound;
  socklen_t length = sizeof bound;
  getsockname(listener_, reinterpret_cast<sockaddr*>(&bound), &length);
  address_ = numbers_of(reinterpret_cast<sockaddr*>(&bound), length);
  return {};
}

void HttpServer::drop(size_t index) {
  close(connections_[index].fd);
  connections_.erase(connections_.begin() + static_cast<ptrdiff_t>(index));
}

// The oldest phases first, so that who comes anew is served, whoever sits there.
void HttpServer::drop_oldest_above(size_t connections) {
  size_t waiting = 0;
  for (const Connection& connection : connections_) waiting += connection.out.size();
  while (connections_.size() > connections || (waiting > kMaxWaitingBytes && connections_.size() > 1)) {
    const auto oldest =
        std::min_element(connections_.begin(), connections_.end(),
                         [](const Connection& a, const Connection& b) { return a.since_ms < b.since_ms; });
    waiting -= oldest->out.size();
    drop(static_cast<size_t>(oldest - connections_.begin()));
  }
}

void HttpServer::accept_all(int64_t now) {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      // Without a descriptor to spare, the listener would stay readable and this loop busy.
      if ((errno == EMFILE || errno == ENFILE) && !connections_.empty()) drop_oldest_above(connections_.size() - 1);
      return;
    }
    connections_.push_back({fd, Phase::reading, false, now, kHeadMs, {}, {}, 0});
    drop_oldest_above(kMaxConnections);
  }
}

void HttpServer::enter(Connection& c, Phase phase, int64_t now, int64_t limit_ms) {
  c.phase = phase;
  c.since_ms = now;
  c.limit_ms = limit_ms;
}

bool HttpServer::send_some(Connection& c, int64_t now) {
  while (c.sent < c.out.size()) {
    const ssize_t n = send(c.fd, c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    c.sent += static_cast<size_t>(n);
  }
  c.out = {};
  c.sent = 0;
  if (c.keep_alive) {
    enter(c, Phase::reading, now, c.in.empty() ? kIdleMs : kHeadMs);
    return true;
  }
  // Closing with something unread would take the response away from the client again.
  enter(c, Phase::closing, now, kCloseMs);
  return shutdown(c.fd, SHUT_WR) == 0;
}

bool HttpServer::respond(Connection& c, const Handler& handler, int64_t now) {
  while (c.phase == Phase::reading) {
    const size_t length = head_length(c.in);
    int wrong = 0;
    HttpRequest request;
    if (length == 0 && c.in.size() < kMaxHeadBytes) {
      // No client of HTTP ends lines otherwise; one that does would wait for its deadline.
      if (c.in.find("\n\n") == std::string::npos) return true;
      wrong = 400;
    } else {
      wrong = length == 0 || length > kMaxHeadBytes ? 431 : parse_head({c.in.data(), length}, request);
    }
    const HttpResponse response = wrong == 0 ? handler(request) : error_response(wrong);
    c.keep_alive = wrong == 0 && request.keep_alive;
    c.in.erase(0, wrong == 0 ? length : c.in.size());
    c.out = head_of(response, c.keep_alive);
    if (request.method != "HEAD") c.out += response.body;
    enter(c, Phase::writing, now, kSendMs);
    if (!send_some(c, now)) return false;
  }
  return true;
}

bool HttpServer::receive(Connection& c, int64_t now) {
  std::array<char, 8192> chunk;
  const ssize_t n = recv(c.fd, chunk.data(), chunk.size(), 0);
  if (n == 0) return false;
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (c.phase == Phase::closing) return true;
  if (c.in.empty() && c.limit_ms == kIdleMs) enter(c, Phase::reading, now, kHeadMs);
  c.in.append(chunk.data(), static_cast<size_t>(n));
  return true;
}

bool HttpServer::advance(Connection& c, short events, const Handler& handler, int64_t now) {
  if ((events & (POLLERR | POLLNVAL)) != 0) return false;
  if (c.phase == Phase::writing) {
    if ((events & POLLOUT) != 0 && !send_some(c, now)) return false;
  } else if ((events & (POLLIN | POLLHUP)) != 0 && !receive(c, now)) {
    return false;
  }
  return respond(c, handler, now);
}

void HttpServer::run(const Handler& handler, int stop_fd) {
  std::vector<pollfd> wanted;
  while (true) {
    wanted.assign({{stop_fd, POLLIN, 0}, {listener_, POLLIN, 0}});
    int64_t now = now_ms();
    int64_t next = now + 60'000;
    for (const Connection& connection : connections_) {
      wanted.push_back({connection.fd, static_cast<short>(connection.phase == Phase::writing ? POLLOUT : POLLIN), 0});
      next = std::min(next, connection.since_ms + connection.limit_ms);
    }
    if (poll(wanted.data(), wanted.size(), static_cast<int>(std::max<int64_t>(next - now, 0))) < 0 && errno != EINTR) {
      return;
    }
    if ((wanted[0].revents & POLLIN) != 0) return;
    now = now_ms();
    // From behind, so that those still to come keep their places.
    for (size_t i = connections_.size(); i-- > 0;) {
      Connection& connection = connections_[i];
      const short events = wanted[i + 2].revents;
      const bool stays = events == 0 || advance(connection, events, handler, now);
      if (!stays || connection.since_ms + connection.limit_ms <= now) drop(i);
    }
    drop_oldest_above(kMaxConnections);
    if ((wanted[1].revents & POLLIN) != 0) accept_all(now);
  }
}

}  // namespace pm
