// Text output for places that must not allocate, take a lock or call the C library: the first malloc of a process,
// a signal handler, the line before an abort.
//
// A TextWriter fills a buffer that its caller owns. With a sink the full buffer is handed over and reused; without one,
// what does not fit is dropped, while total() keeps counting as snprintf does. Not synchronised: one thread per writer.
#ifndef POOLMALLOC_BASE_TEXT_H_
#define POOLMALLOC_BASE_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace pm {

class TextWriter {
 public:
  using Sink = void (*)(void* context, const char* data, size_t size);

  constexpr TextWriter(char* buffer, size_t capacity, Sink sink = nullptr, void* context = nullptr)
      : buffer_(buffer), capacity_(capacity), sink_(sink), context_(context) {}
  template <size_t kSize>
  explicit constexpr TextWriter(char (&buffer)[kSize], Sink sink = nullptr, void* context = nullptr)
      : TextWriter(buffer, kSize, sink, context) {}
  TextWriter(const TextWriter&) = delete;
  TextWriter& operator=(const TextWriter&) = delete;

  TextWriter& character(char c);
  TextWriter& text(const char* zero_terminated);
  TextWriter& text(const char* data, size_t size);
  TextWriter& number(unsigned long long value);
  // With commas between thousands: 1,234,567.
  TextWriter& grouped(unsigned long long value);
  // Lower case with 0x in front, no leading zeros.
  TextWriter& hex(uintptr_t value);
  // For people: 512 B, 12.3 MiB; rounded to the nearest tenth.
  TextWriter& bytes(uint64_t value);
  // A fraction given in thousandths, rounded to `decimals` (0 to 3) places: fixed(12345, 2) is 12.35.
  TextWriter& fixed(uint64_t thousandths, unsigned decimals = 3);
  // Spaces up to `column` of the current line (the first is 0); nothing if it is already there or beyond.
  TextWriter& pad(size_t column);
  // The text with spaces before it so that it ends where a field of `width` ends.
  TextWriter& right(const char* data, size_t size, size_t width);

  // Hands what is buffered to the sink; nothing without one.
  void flush();
  // Ends what is in the buffer with a zero byte, cutting its last character where it is full, and returns the buffer.
  const char* c_str();

  const char* data() const { return buffer_; }
  // Characters in the buffer now.
  size_t size() const { return size_; }
  // Characters written since the beginning, dropped ones included.
  size_t total() const { return total_; }

 private:
  char* buffer_;
  size_t capacity_;
  Sink sink_;
  void* context_;
  size_t size_ = 0;
  size_t total_ = 0;
  size_t line_start_ = 0;  // total_ where the current line began
};

// The few string functions this code needs, usable in constant expressions too. The C library's own are not called:
// where they are replaced or checked (by a sanitizer, by a library that is loaded earlier), they may allocate.
constexpr size_t text_length(const char* text) {
  size_t length = 0;
  while (text[length] != '\0') {
    ++length;
    // Without this, the compiler recognises the loop and calls strlen.
    if (!std::is_constant_evaluated()) asm volatile("" : "+r"(length));
  }
  return length;
}

constexpr bool text_equal(const char* a, size_t a_size, const char* b, size_t b_size) {
  if (a_size != b_size) return false;
  for (size_t i = 0; i < a_size; ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

constexpr bool text_equal(const char* a, const char* b) { return text_equal(a, text_length(a), b, text_length(b)); }

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads the decimal number at `p`, up to `most` characters or the first that is no digit (a zero byte is none), and
// moves `p` behind it. False where there is no digit, and `value` is 0; or where it does not fit, and `value` is
// UINT64_MAX.
constexpr bool read_decimal(const char*& p, uint64_t& value, size_t most = SIZE_MAX) {
  const char* const start = p;
  bool fits = true;
  value = 0;
  for (; most > 0 && is_digit(*p); ++p, --most) {
    const auto digit = static_cast<uint64_t>(*p - '0');
    fits =
        fits && !__builtin_mul_overflow(value, uint64_t{10}, &value) && !__builtin_add_overflow(value, digit, &value);
  }
  if (!fits) value = UINT64_MAX;
  return fits && p != start;
}

// The same where nothing else than a number is to be expected: 0 where there is none.
constexpr uint64_t decimal_at(const char*& p) {
  uint64_t value = 0;
  read_decimal(p, value);
  return value;
}

}  // namespace pm

#endif  // POOLMALLOC_BASE_TEXT_H_
