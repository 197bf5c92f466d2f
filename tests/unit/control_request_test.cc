#include <string>

#include "control/request.h"
#include "tests/catch.h"

namespace {

using pm::Request;
using pm::TextWriter;
using pm::Verb;

std::string refusal(const std::string& line) {
  char buffer[256];
  TextWriter reason(buffer);
  Request request;
  CHECK_FALSE(pm::parse_request(line.data(), line.size(), request, reason));
  return reason.c_str();
}

Request parsed(const std::string& line) {
  char buffer[256];
  TextWriter reason(buffer);
  Request request;
  INFO(line);
  CHECK(pm::parse_request(line.data(), line.size(), request, reason));
  CHECK(reason.total() == 0);
  return request;
}

TEST_CASE("requests are a verb and at most one word") {
  CHECK(parsed("ping").verb == Verb::ping);
  CHECK(parsed("options").verb == Verb::options);
  CHECK(parsed("trim").verb == Verb::trim);
  CHECK(parsed("trim").argument_size == 0);
  const Request trim = parsed("trim 4096");
  CHECK(trim.verb == Verb::trim);
  CHECK(std::string(trim.argument) == "4096");
  CHECK(trim.argument_size == 4);
  const Request set = parsed("set dirty_bytes=1m");
  CHECK(set.verb == Verb::set);
  CHECK(std::string(set.argument) == "dirty_bytes=1m");
  CHECK(std::string(parsed("get fit").argument) == "fit");
}

TEST_CASE("what is none says why in one line") {
  for (const char* line : {"", " ", "pong", "pin", "pings", "PING", " ping", "trim1", "se", "set=1"}) {
    INFO(line);
    CHECK(refusal(line) ==
          "there is no such request; there are ping, trim, set, get, options, prof start, prof stop, prof dump");
  }
  CHECK(refusal("set") == "set needs an argument");
  CHECK(refusal("get") == "get needs an argument");
  CHECK(refusal("get ") == "get takes one word");
  CHECK(refusal("get a b") == "get takes one word");
  CHECK(refusal("get  a") == "get takes one word");
  CHECK(refusal("trim 1 ") == "trim takes one word");
  CHECK(refusal("ping 1") == "ping takes no argument");
  CHECK(refusal("ping ") == "ping takes no argument");
  for (const std::string& line : {std::string("get a\tb"), std::string("get \x1b[31m"), std::string("get \xc3\xa4"),
                                  std::string("ping\0", 5), std::string("ping\r")}) {
    CHECK(refusal(line) == "the request is not a line of plain text");
  }
}

TEST_CASE("a line is as long as a request may be, and no longer") {
  const std::string longest = "get " + std::string(pm::kMostRequest - 5, 'a');
  CHECK(parsed(longest).argument_size == pm::kMostRequest - 5);
  CHECK(refusal(longest + "a") == "the request is not a line of plain text");
}

TEST_CASE("numbers of bytes are digits alone") {
  uint64_t bytes = 1;
  CHECK((pm::parse_bytes("0", bytes) && bytes == 0));
  CHECK((pm::parse_bytes("18446744073709551615", bytes) && bytes == UINT64_MAX));
  for (const char* text : {"", "18446744073709551616", "99999999999999999999", "-1", "+1", "1k", " 1", "1 ", "0x1"}) {
    INFO(text);
    CHECK_FALSE(pm::parse_bytes(text, bytes));
  }
}

}  // namespace
