#include "os/proc_text.h"

#include <string>

#include "tests/catch.h"

using namespace pm;
using os::Text;

namespace {

Text text(const std::string& from) { return {from.data(), from.size()}; }
std::string string(Text from) { return {from.data, from.size}; }

}  // namespace

TEST_CASE("numbers end with the text or a blank") {
  uint64_t value = 7;
  CHECK((os::read_number(text("0"), value) && value == 0));
  CHECK((os::read_number(text("18446744073709551615\n"), value) && value == UINT64_MAX));
  value = 7;
  for (const std::string bad : {"", "\n", "-1", "x", "12x", "18446744073709551616", "99999999999999999999999", "1.5"}) {
    CHECK_FALSE(os::read_number(text(bad), value));
  }
  CHECK(value == 7);
}

TEST_CASE("no limit has three spellings") {
  uint64_t value = 0;
  for (const std::string none : {"max\n", "9223372036854771712\n", "9223372036854710272\n", "18446744073709551615\n"}) {
    value = 0;
    CHECK(os::read_limit(text(none), value));
    CHECK(value == UINT64_MAX);
  }
  CHECK((os::read_limit(text("0\n"), value) && value == 0));
  CHECK((os::read_limit(text("1048576\n"), value) && value == 1048576));
  CHECK_FALSE(os::read_limit(text("maximum\n"), value));
  CHECK_FALSE(os::read_limit(text(""), value));
}

TEST_CASE("a value is found by its whole key, in whole lines") {
  const std::string stat = "inactive_file_x 1\ninactive_file 42\nMemAvailable:   77 kB\ncut 12";
  uint64_t value = 0;
  CHECK((os::find_value(text(stat), "inactive_file", value) && value == 42));
  CHECK((os::find_value(text(stat), "MemAvailable", value) && value == 77));
  CHECK_FALSE(os::find_value(text(stat), "inactive", value));
  CHECK_FALSE(os::find_value(text(stat), "cut", value));
  CHECK_FALSE(os::find_value(text("key\n"), "key", value));
  CHECK_FALSE(os::find_value(text(""), "key", value));
}

TEST_CASE("stalls are the total of the line some") {
  uint64_t value = 0;
  CHECK((os::read_stall(text("some avg10=0.00 avg60=0.00 avg300=0.00 total=123\nfull avg10=0.00 total=9\n"), value) &&
         value == 123));
  CHECK_FALSE(os::read_stall(text("full avg10=0.00 total=9\n"), value));
  CHECK_FALSE(os::read_stall(text("some avg10=0.00 total=12"), value));
  CHECK_FALSE(os::read_stall(text("some total=\n"), value));
  CHECK_FALSE(os::read_stall(text("some\n"), value));
}

TEST_CASE("words, lines and lists") {
  CHECK(string(os::word(text("  a bc\td\n"), 0)) == "a");
  CHECK(string(os::word(text("  a bc\td\n"), 1)) == "bc");
  CHECK(string(os::word(text("  a bc\td\n"), 2)) == "d");
  CHECK(os::word(text("a b"), 2).empty());
  CHECK(os::word(text(""), 0).empty());
  const std::string lines = "one\n\nthree";
  Text rest = text(lines);
  CHECK(string(os::next_line(rest)) == "one");
  CHECK(os::next_line(rest).empty());
  CHECK(string(os::next_line(rest)) == "three");
  CHECK(rest.empty());
  CHECK(os::has_item(text("cpu,memory"), "memory"));
  CHECK(os::has_item(text("memory"), "memory"));
  CHECK_FALSE(os::has_item(text("memory2,mem"), "memory"));
  CHECK_FALSE(os::has_item(text(""), "memory"));
  CHECK(os::fingerprint(text("a")) != os::fingerprint(text("b")));
}

TEST_CASE("base64 as the service manager writes it") {
  char out[32];
  const auto decode = [&](const std::string& from) {
    const long size = os::decode_base64(text(from), out, sizeof out);
    return size < 0 ? std::string("malformed") : std::string(out, static_cast<size_t>(size));
  };
  CHECK(decode("c29tZSAyMDAwMDAgMjAwMDAwMAA=") == std::string("some 200000 2000000\0", 20));
  CHECK(decode("Zg==") == "f");
  CHECK(decode("Zm8") == "fo");
  CHECK(decode("Zm9v") == "foo");
  CHECK(decode("") == "");
  CHECK(decode("Z") == "malformed");
  CHECK(decode("Zm9v!mFy") == "malformed");
  CHECK(decode("Zm 9v") == "malformed");
  CHECK(decode(std::string(48, 'A')) == "malformed");  // 36 bytes do not fit
}
