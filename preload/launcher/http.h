// As much of an HTTP/1.1 server as statistics need: GET and HEAD, no bodies, one thread.
//
// Whoever can reach the port may be hostile or slow. So nobody is waited for: one poll(2) loop holds all connections;
// a request's head has a size and a deadline, so has a response's way out, so have the number of connections and the
// bytes that wait to be read. Who exceeds one is answered or dropped, the others do not notice. (Why not cpp-httplib:
// src/README.md.)
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_HTTP_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_HTTP_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace pm {

struct HttpRequest {
  std::string method;
  std::string path;    // without the query
  std::string host;    // as the client calls us; empty if it did not say
  std::string accept;  // media types, as sent
  bool keep_alive = false;
};

struct HttpResponse {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

inline constexpr size_t kMaxHeadBytes = 16384;
inline constexpr size_t kMaxTargetBytes = 2048;

// Where a head ends: the length up to and including its empty line; 0 if it is not all there yet.
size_t head_length(std::string_view received);
// Reads a head. 0, or the status that says what is wrong with it; what was understood until then is in `out`.
int parse_head(std::string_view head, HttpRequest& out);

// "127.0.0.1:80", "[::1]:80", "name:80", ":80" (every address) to its parts; false if it is none of these.
bool split_address(const std::string& text, std::string& host, std::string& port);

class HttpServer {
 public:
  // Must not throw; called on the thread of run().
  using Handler = std::function<HttpResponse(const HttpRequest&)>;

  HttpServer() = default;
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Empty if it listens; otherwise one line that says why not.
  std::string listen(const std::string& address);
  // Answers requests until `stop_fd` can be read.
  void run(const Handler& handler, int stop_fd);

  // Where it listens, with numbers: "127.0.0.1:8080".
  const std::string& address() const { return address_; }
  // Whether only this machine can reach it.
  bool is_loopback() const { return is_loopback_; }

 private:
  enum class Phase { reading, writing, closing };
  struct Connection {
    int fd;
    Phase phase;
    bool keep_alive;
    int64_t since_ms;  // when the phase began
    int64_t limit_ms;  // how long it may take
    std::string in;    // received and not yet understood
    std::string out;   // to be sent, from `sent` on
    size_t sent;
  };

  void accept_all(int64_t now);
  static void enter(Connection& connection, Phase phase, int64_t now, int64_t limit_ms);
  // These say false when the connection is to be dropped.
  bool advance(Connection& connection, short events, const Handler& handler, int64_t now);
  bool receive(Connection& connection, int64_t now);
  bool respond(Connection& connection, const Handler& handler, int64_t now);
  bool send_some(Connection& connection, int64_t now);
  void drop(size_t index);
  void drop_oldest_above(size_t connections);

  int listener_ = -1;
  bool is_loopback_ = false;
  std::string address_;
  std::vector<Connection> connections_;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_HTTP_H_
