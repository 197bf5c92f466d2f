// control/request.cc on any bytes: it reads nothing behind the line, writes one line of plain text, and takes only what
// it gives back word for word.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "control/request.h"

namespace {

constexpr const char* kWords[] = {
#define VERB(name, word, argument) word,
#include "control/verbs.def"
#undef VERB
};

void require(bool condition) {
  if (!condition) abort();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) { return 0; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Random bytes alone never begin with a word: the first of them chooses one.
  std::string text;
  if (size > 0 && data[0] % 4 != 0) text = kWords[data[0] / 4 % std::size(kWords)];
  text.append(reinterpret_cast<const char*>(data), size);
  if (!text.empty() && size > 1 && data[1] % 2 == 0) text.erase(text.size() - size, 2);
  // Exactly as long as the line, so that a sanitizer sees a read behind it.
  const std::vector<char> line(text.begin(), text.end());
  char buffer[256];
  pm::TextWriter reason(buffer);
  pm::Request request;
  if (pm::parse_request(line.data(), line.size(), request, reason)) {
    require(reason.total() == 0 && line.size() < pm::kMostRequest);
    require(strlen(request.argument) == request.argument_size);
    std::string again = kWords[static_cast<size_t>(request.verb)];
    if (request.argument_size != 0) again += " " + std::string(request.argument);
    require(again == text);
  } else {
    require(reason.total() != 0 && reason.total() < sizeof buffer);
    for (size_t i = 0; i < reason.size(); ++i) require(buffer[i] >= ' ' && buffer[i] <= '~');
  }
  uint64_t bytes = 0;
  if (pm::parse_bytes(text.c_str(), bytes)) {
    require(text.find_first_not_of("0123456789") == std::string::npos);
    const std::string number = std::to_string(bytes);
    require(text.size() >= number.size() && text.substr(text.size() - number.size()) == number);
  }
  return 0;
}
