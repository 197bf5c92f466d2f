#include "control/request.h"

namespace pm {
namespace {

enum class Argument : uint8_t { none, optional, needed };

struct VerbRow {
  char word[12];
  Argument argument;
};

constexpr VerbRow kVerbs[] = {
#define VERB(name, word, argument) {word, Argument::argument},
#include "control/verbs.def"
#undef VERB
};
constexpr size_t kVerbCount = sizeof kVerbs / sizeof kVerbs[0];

bool is_plain(const char* line, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (line[i] < ' ' || line[i] > '~') return false;
  }
  return true;
}

// How long the word is if the line begins with it, and with nothing longer; else 0.
size_t match(const VerbRow& row, const char* line, size_t size) {
  const size_t length = text_length(row.word);
  if (length > size || !text_equal(row.word, length, line, length)) return 0;
  return length == size || line[length] == ' ' ? length : 0;
}

}  // namespace

bool parse_request(const char* line, size_t size, Request& out, TextWriter& reason) {
  out.argument_size = 0;
  out.argument[0] = '\0';
  if (size >= kMostRequest || !is_plain(line, size)) {
    reason.text("the request is not a line of plain text");
    return false;
  }
  size_t row = 0;
  size_t word = 0;
  while (row < kVerbCount && (word = match(kVerbs[row], line, size)) == 0) ++row;
  if (row == kVerbCount) {
    reason.text("there is no such request; there are ");
    for (size_t i = 0; i < kVerbCount; ++i) reason.text(i == 0 ? "" : ", ").text(kVerbs[i].word);
    return false;
  }
  out.verb = static_cast<Verb>(row);
  const Argument wanted = kVerbs[row].argument;
  if (word == size) {
    if (wanted != Argument::needed) return true;
    reason.text(kVerbs[row].word).text(" needs an argument");
    return false;
  }
  const char* const argument = line + word + 1;
  const size_t length = size - word - 1;
  bool one_word = length != 0;
  for (size_t i = 0; i < length; ++i) one_word = one_word && argument[i] != ' ';
  if (!one_word || wanted == Argument::none) {
    reason.text(kVerbs[row].word).text(wanted == Argument::none ? " takes no argument" : " takes one word");
    return false;
  }
  for (size_t i = 0; i < length; ++i) out.argument[i] = argument[i];
  out.argument[length] = '\0';
  out.argument_size = length;
  return true;
}

bool parse_bytes(const char* text, uint64_t& out) { return read_decimal(text, out) && *text == '\0'; }

}  // namespace pm
