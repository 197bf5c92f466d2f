// One request of the control channel, read from its line. Pure; no memory but the caller's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/text.h"

namespace pm {

inline constexpr size_t kMostRequest = 512;  // bytes, the newline included

enum class Verb : uint8_t {
#define VERB(name, word, argument) name,
#include "control/verbs.def"
#undef VERB
};

struct Request {
  Verb verb;
  // Without spaces and control characters; ends with a zero. Empty if there is none.
  char argument[kMostRequest];
  size_t argument_size;
};

// Reads a line without its newline. False, with the reason in one line, if it is no request.
bool parse_request(const char* line, size_t size, Request& out, TextWriter& reason);

// A number of bytes in decimal digits alone; false if it is none or has more than 64 bits.
bool parse_bytes(const char* text, uint64_t& out);

}  // namespace pm
