// The little grammars of /proc and /sys/fs/cgroup, read from a buffer: numbers, "key value" lines, the pressure file,
// base64. Pure; trusts nothing of the text: what does not fit the grammar is "no value".
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm::os {

struct Text {
  const char* data;
  size_t size;

  bool empty() const { return size == 0; }
};

// The decimal number at the front of the text, ended by its end or a blank; false if there is none or it overflows.
bool read_number(Text text, uint64_t& value);
// A limit as cgroup files hold it: a number, or "max", or version 1's "no limit" (the highest number of whole pages):
// those are UINT64_MAX.
bool read_limit(Text text, uint64_t& value);
// The number behind `key` in lines of "key value" or "key: value".
bool find_value(Text text, const char* key, uint64_t& value);
// The total of the line "some", microseconds, in a pressure file.
bool read_stall(Text text, uint64_t& microseconds);
// The nth (from 0) blank-separated word; empty if there are fewer.
Text word(Text text, unsigned n);
// Cuts the first line (without its newline) off the text. An unfinished last line is a line too.
Text next_line(Text& rest);
// Without an unfinished last line: where a read was cut off, its number may lack digits.
Text whole_lines(Text text);
bool equals(Text text, const char* other);
// Whether the list, separated by commas, has the item.
bool has_item(Text list, const char* item);
// Decodes base64 (RFC 4648, padded or not). The length, or -1 if it is malformed or does not fit.
long decode_base64(Text text, char* out, size_t capacity);
// A number that differs for different texts, nearly always.
uint64_t fingerprint(Text text);

}  // namespace pm::os
