#include "base/text.h"

#include <cstdint>
#include <string>

#include "tests/catch.h"

namespace {

using pm::TextWriter;

template <class Write>
std::string written(Write write) {
  char buffer[256];
  TextWriter out(buffer);
  write(out);
  return std::string(out.data(), out.size());
}

void append(void* context, const char* data, size_t size) { static_cast<std::string*>(context)->append(data, size); }

TEST_CASE("numbers") {
  CHECK(written([](TextWriter& out) { out.number(0).text(" ").number(~0ULL); }) == "0 18446744073709551615");
  CHECK(written([](TextWriter& out) { out.hex(0).text(" ").hex(0x7f00deadbeef).text(" ").hex(UINTPTR_MAX); }) ==
        "0x0 0x7f00deadbeef 0xffffffffffffffff");
  CHECK(written([](TextWriter& out) { out.grouped(0).text(" ").grouped(999).text(" ").grouped(1000); }) ==
        "0 999 1,000");
  CHECK(written([](TextWriter& out) { out.grouped(~0ULL); }) == "18,446,744,073,709,551,615");
}

TEST_CASE("bytes for people") {
  const auto bytes = [](uint64_t value) { return written([=](TextWriter& out) { out.bytes(value); }); };
  CHECK(bytes(0) == "0 B");
  CHECK(bytes(1023) == "1023 B");
  CHECK(bytes(1024) == "1.0 KiB");
  CHECK(bytes(1536) == "1.5 KiB");
  CHECK(bytes((1 << 20) - 1) == "1.0 MiB");
  CHECK(bytes(1023 * 1024) == "1023.0 KiB");
  CHECK(bytes(12'897'485) == "12.3 MiB");
  CHECK(bytes(uint64_t{3} << 40) == "3.0 TiB");
  CHECK(bytes(UINT64_MAX) == "16.0 EiB");
}

TEST_CASE("fractions in thousandths") {
  const auto fixed = [](uint64_t value, unsigned decimals) {
    return written([=](TextWriter& out) { out.fixed(value, decimals); });
  };
  CHECK(fixed(12345, 3) == "12.345");
  CHECK(fixed(12345, 2) == "12.35");
  CHECK(fixed(12345, 0) == "12");
  CHECK(fixed(12500, 0) == "13");
  CHECK(fixed(7, 3) == "0.007");
  CHECK(fixed(7, 1) == "0.0");
  CHECK(fixed(999'999, 1) == "1000.0");
  CHECK(fixed(UINT64_MAX, 3) == "18446744073709551.615");
}

TEST_CASE("columns") {
  CHECK(written([](TextWriter& out) { out.text("ab").pad(4).text("c").pad(2).text("d"); }) == "ab  cd");
  CHECK(written([](TextWriter& out) { out.text("one\ntwo").pad(5).text("|"); }) == "one\ntwo  |");
  CHECK(written([](TextWriter& out) { out.text("one\n").pad(2).text("|"); }) == "one\n  |");
  CHECK(written([](TextWriter& out) { out.right("12", 2, 5).right("123456", 6, 5); }) == "   12123456");
}

TEST_CASE("without a sink, what does not fit is dropped but counted") {
  char buffer[5] = {'-', '-', '-', '-', '-'};
  TextWriter out(buffer, 4);
  out.text("abc").number(123456);
  CHECK(std::string(out.data(), out.size()) == "abc1");
  CHECK(out.total() == 9);
  CHECK(buffer[4] == '-');
  CHECK(std::string(out.c_str()) == "abc");
  out.flush();
  CHECK(out.size() == 4);
}

TEST_CASE("an empty buffer takes everything and keeps nothing") {
  TextWriter out(nullptr, 0);
  out.text("abc").pad(10).number(5);
  CHECK(out.size() == 0);
  CHECK(out.total() == 11);
  CHECK(std::string(out.c_str()).empty());
}

TEST_CASE("a sink gets everything in order, whatever the size of the buffer") {
  for (size_t capacity : {1u, 2u, 3u, 7u, 64u}) {
    std::string collected;
    char buffer[64];
    TextWriter out(buffer, capacity, append, &collected);
    out.text("poolmalloc: ").number(1234567).text(" in ").hex(0xabc).text("\n").pad(3).bytes(4096);
    out.flush();
    out.flush();
    CHECK(collected == "poolmalloc: 1234567 in 0xabc\n   4.0 KiB");
    CHECK(out.total() == collected.size());
  }
}

TEST_CASE("decimal numbers are read up to their last digit") {
  struct Case {
    const char* text;
    bool accepted;
    uint64_t value;
    const char* rest;
  };
  const Case cases[] = {{"0", true, 0, ""},
                        {"12 kB", true, 12, " kB"},
                        {"18446744073709551615,", true, UINT64_MAX, ","},
                        {"18446744073709551616", false, UINT64_MAX, ""},
                        {"99999999999999999999999x", false, UINT64_MAX, "x"},
                        {"", false, 0, ""},
                        {"-1", false, 0, "-1"},
                        {"/1", false, 0, "/1"},
                        {":1", false, 0, ":1"}};
  for (const Case& c : cases) {
    INFO(c.text);
    const char* p = c.text;
    uint64_t value = 7;
    CHECK(pm::read_decimal(p, value) == c.accepted);
    CHECK(value == c.value);
    CHECK(std::string(p) == c.rest);
    p = c.text;
    CHECK(pm::decimal_at(p) == c.value);
  }
  const char* p = "1234";
  const char* const end = p + 2;
  uint64_t value = 0;
  CHECK((pm::read_decimal(p, value, static_cast<size_t>(end - p)) && value == 12 && p == end));
  CHECK_FALSE(pm::read_decimal(p, value, static_cast<size_t>(end - p)));
}

TEST_CASE("string comparison") {
  CHECK(pm::text_equal("abc", "abc"));
  CHECK_FALSE(pm::text_equal("abc", "abd"));
  CHECK_FALSE(pm::text_equal("abc", "ab"));
  CHECK(pm::text_equal("", ""));
  static_assert(pm::text_length("four") == 4);
}

}  // namespace
