#include "base/text.h"

#include <cstring>

namespace pm {

TextWriter& TextWriter::text(const char* data, size_t size) {
  total_ += size;
  for (size_t i = size; i > 0; --i) {
    if (data[i - 1] == '\n') {
      line_start_ = total_ - (size - i);
      break;
    }
  }
  while (size > 0) {
    if (size_ == capacity_) {
      flush();
      if (size_ == capacity_) return *this;  // no sink, or no buffer at all
    }
    const size_t part = size < capacity_ - size_ ? size : capacity_ - size_;
    memcpy(buffer_ + size_, data, part);
    size_ += part;
    data += part;
    size -= part;
  }
  return *this;
}

TextWriter& TextWriter::text(const char* zero_terminated) {
  return text(zero_terminated, text_length(zero_terminated));
}

TextWriter& TextWriter::character(char c) { return text(&c, 1); }

TextWriter& TextWriter::number(unsigned long long value) {
  char digits[20];
  size_t first = sizeof digits;
  do {
    digits[--first] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  return text(digits + first, sizeof digits - first);
}

TextWriter& TextWriter::grouped(unsigned long long value) {
  char digits[26];
  size_t first = sizeof digits;
  unsigned written = 0;
  do {
    if (written != 0 && written % 3 == 0) digits[--first] = ',';
    digits[--first] = static_cast<char>('0' + value % 10);
    value /= 10;
    ++written;
  } while (value != 0);
  return text(digits + first, sizeof digits - first);
}

TextWriter& TextWriter::hex(uintptr_t value) {
  char digits[2 + 2 * sizeof value];
  size_t first = sizeof digits;
  do {
    const unsigned digit = value & 15;
    digits[--first] = static_cast<char>(digit < 10 ? '0' + digit : 'a' + (digit - 10));
    value >>= 4;
  } while (value != 0);
  digits[--first] = 'x';
  digits[--first] = '0';
  return text(digits + first, sizeof digits - first);
}

TextWriter& TextWriter::bytes(uint64_t value) {
  if (value < 1024) return number(value).text(" B");
  const char units[] = "KMGTPE";
  unsigned unit = 0;
  unsigned shift = 10;
  // Tenths of the unit, rounded, from the whole part and the next ten bits: value * 10 could overflow.
  const auto tenths_at = [value](unsigned bits) {
    return (value >> bits) * 10 + (((value >> (bits - 10)) & 1023) * 10 + 512) / 1024;
  };
  // The next unit already where this one would print 1024.0.
  while (unit < 5 && tenths_at(shift) >= 10240) {
    ++unit;
    shift += 10;
  }
  const uint64_t tenths = tenths_at(shift);
  return number(tenths / 10).character('.').number(tenths % 10).character(' ').character(units[unit]).text("iB");
}

TextWriter& TextWriter::fixed(uint64_t thousandths, unsigned decimals) {
  if (decimals > 3) decimals = 3;
  uint64_t divisor = 1;
  uint64_t scale = 1000;
  for (unsigned i = decimals; i < 3; ++i) {
    divisor *= 10;
    scale /= 10;
  }
  const uint64_t rounded = thousandths / divisor + (thousandths % divisor >= (divisor + 1) / 2 && divisor > 1 ? 1 : 0);
  number(rounded / scale);
  if (decimals == 0) return *this;
  character('.');
  for (uint64_t digit = scale / 10; digit > 0; digit /= 10) {
    character(static_cast<char>('0' + rounded / digit % 10));
  }
  return *this;
}

TextWriter& TextWriter::pad(size_t column) {
  while (total_ - line_start_ < column) character(' ');
  return *this;
}

TextWriter& TextWriter::right(const char* data, size_t size, size_t width) {
  for (size_t i = size; i < width; ++i) character(' ');
  return text(data, size);
}

void TextWriter::flush() {
  if (sink_ == nullptr || size_ == 0) return;
  // Emptied first, so that a sink which writes through this writer again does not meet the same text.
  const size_t size = size_;
  size_ = 0;
  sink_(context_, buffer_, size);
}

const char* TextWriter::c_str() {
  if (capacity_ == 0) return "";
  buffer_[size_ < capacity_ ? size_ : capacity_ - 1] = '\0';
  return buffer_;
}

}  // namespace pm
