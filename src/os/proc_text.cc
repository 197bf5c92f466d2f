#include "os/proc_text.h"

#include "base/text.h"

namespace pm::os {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

bool starts_with(Text text, const char* prefix, size_t prefix_size) {
  return text.size >= prefix_size && text_equal(text.data, prefix_size, prefix, prefix_size);
}

Text after(Text text, size_t count) { return {text.data + count, text.size - count}; }

// Version 1 says "no limit" with the highest number of whole pages, which depends on the page size. No machine has
// an exbibyte, so anything above is none.
constexpr uint64_t kHighestLimit = uint64_t{1} << 60;

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

}  // namespace

bool read_number(Text text, uint64_t& value) {
  const char* p = text.data;
  const char* const end = p + text.size;
  uint64_t number = 0;
  if (!read_decimal(p, number, static_cast<size_t>(end - p)) || (p != end && !is_blank(*p))) return false;
  value = number;
  return true;
}

bool read_limit(Text text, uint64_t& value) {
  if (equals(word(text, 0), "max")) {
    value = UINT64_MAX;
    return true;
  }
  if (!read_number(text, value)) return false;
  if (value >= kHighestLimit) value = UINT64_MAX;
  return true;
}

bool find_value(Text text, const char* key, uint64_t& value) {
  const size_t key_size = text_length(key);
  text = whole_lines(text);
  while (!text.empty()) {
    Text line = next_line(text);
    if (!starts_with(line, key, key_size)) continue;
    line = after(line, key_size);
    if (!line.empty() && line.data[0] == ':') line = after(line, 1);
    if (line.empty() || !is_blank(line.data[0])) continue;
    return read_number(word(line, 0), value);
  }
  return false;
}

bool read_stall(Text text, uint64_t& microseconds) {
  text = whole_lines(text);
  while (!text.empty()) {
    const Text line = next_line(text);
    if (!equals(word(line, 0), "some")) continue;
    for (unsigned n = 1;; ++n) {
      const Text field = word(line, n);
      if (field.empty()) return false;
      if (starts_with(field, "total=", 6)) return read_number(after(field, 6), microseconds);
    }
  }
  return false;
}

Text word(Text text, unsigned n) {
  size_t i = 0;
  for (;; --n) {
    while (i < text.size && is_blank(text.data[i])) ++i;
    const size_t start = i;
    while (i < text.size && !is_blank(text.data[i])) ++i;
    if (n == 0 || i == text.size) return {text.data + start, n == 0 ? i - start : 0};
  }
}

Text next_line(Text& rest) {
  size_t length = 0;
  while (length < rest.size && rest.data[length] != '\n') ++length;
  const Text line = {rest.data, length};
  rest = after(rest, length < rest.size ? length + 1 : length);
  return line;
}

Text whole_lines(Text text) {
  while (!text.empty() && text.data[text.size - 1] != '\n') --text.size;
  return text;
}

bool equals(Text text, const char* other) { return text_equal(text.data, text.size, other, text_length(other)); }

bool has_item(Text list, const char* item) {
  while (!list.empty()) {
    size_t length = 0;
    while (length < list.size && list.data[length] != ',') ++length;
    if (equals({list.data, length}, item)) return true;
    list = after(list, length < list.size ? length + 1 : length);
  }
  return false;
}

long decode_base64(Text text, char* out, size_t capacity) {
  while (!text.empty() && text.data[text.size - 1] == '=') --text.size;
  if (text.size % 4 == 1) return -1;
  uint32_t bits = 0;
  unsigned held = 0;
  size_t length = 0;
  for (size_t i = 0; i < text.size; ++i) {
    const int digit = base64_digit(text.data[i]);
    if (digit < 0) return -1;
    bits = (bits << 6) | static_cast<uint32_t>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    if (length == capacity) return -1;
    out[length++] = static_cast<char>(bits >> held);
    bits &= (1U << held) - 1;
  }
  return static_cast<long>(length);
}

uint64_t fingerprint(Text text) {
  // FNV-1a.
  uint64_t hash = 0xcbf29ce484222325U;
  for (size_t i = 0; i < text.size; ++i) hash = (hash ^ static_cast<unsigned char>(text.data[i])) * 0x100000001b3U;
  return hash;
}

}  // namespace pm::os
