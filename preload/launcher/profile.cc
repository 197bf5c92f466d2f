#include "preload/launcher/profile.h"

#include <charconv>
#include <optional>

namespace pm {
namespace {

constexpr std::string_view kFirstLine = "poolmalloc-profile 1";
constexpr size_t kDeepestStack = 4096;  // frames; a line with more is no stack

// The words of one line, which single spaces part.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line) {}

  bool is_over() const { return over_; }

  // The next word; empty, as no word of a dump is, behind the last.
  std::string_view next() {
    if (over_) return {};
    const size_t space = rest_.find(' ');
    const std::string_view word = rest_.substr(0, space);
    over_ = space == std::string_view::npos;
    rest_.remove_prefix(over_ ? rest_.size() : space + 1);
    return word;
  }

  // What is left of the line, whatever it holds: a path.
  std::string_view remainder() {
    over_ = true;
    return rest_;
  }

  bool number(uint64_t& value, int base = 10) {
    const std::string_view word = next();
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value, base);
    return error == std::errc() && end == word.data() + word.size();
  }

  bool literal(std::string_view expected) { return next() == expected; }

  // Seconds with three decimals, as milliseconds.
  bool time(int64_t& milliseconds) {
    const std::string_view word = next();
    const size_t point = word.find('.');
    if (point == std::string_view::npos || word.size() != point + 4) return false;
    Words seconds(word.substr(0, point)), fraction(word.substr(point + 1));
    uint64_t whole, part;
    if (!seconds.number(whole) || !fraction.number(part) || whole > kLatestSecond) return false;
    milliseconds = static_cast<int64_t>(whole * 1000 + part);
    return true;
  }

 private:
  static constexpr uint64_t kLatestSecond = 9'000'000'000;  // in 2255; nanoseconds until then fit into 64 bits

  std::string_view rest_;
  bool over_ = false;
};

bool is_build_id(std::string_view text) {
  return text.size() % 2 == 0 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool read_mapping(Words& words, ProfileMapping& mapping) {
  if (!words.number(mapping.start, 16) || !words.number(mapping.end, 16) || !words.number(mapping.offset, 16)) {
    return false;
  }
  if (mapping.start >= mapping.end) return false;
  const std::string_view build_id = words.next();
  if (build_id.empty() || (build_id != "-" && !is_build_id(build_id))) return false;
  if (build_id != "-") mapping.build_id = build_id;
  const std::string_view state = words.next();
  if (state != "here" && state != "gone") return false;
  mapping.gone = state == "gone";
  mapping.path = words.remainder();
  return !mapping.path.empty();
}

bool read_site(Words& words, ProfileSite& site) {
  uint64_t id;  // tells the sites apart for the library's own tests; nothing refers to it
  if (!words.number(id) || !words.number(site.size) || site.size == 0) return false;
  for (uint64_t* count : {&site.allocated, &site.live, &site.peak, &site.temporary}) {
    if (!words.number(*count)) return false;
  }
  if (!words.literal("age")) return false;
  for (uint64_t& count : site.ages) {
    if (!words.number(count)) return false;
  }
  if (!words.literal("stack")) return false;
  while (!words.is_over()) {
    uint64_t address;
    if (!words.number(address, 16) || site.stack.size() == kDeepestStack) return false;
    site.stack.push_back(address);
  }
  return !site.stack.empty();
}

// Takes a dump apart line by line; remembers the first thing that is wrong.
class Parser {
 public:
  Parser(std::string_view text, HeapProfile& profile, ProfileError& error)
      : rest_(text), profile_(profile), error_(error) {}

  bool parse() {
    profile_ = {};
    if (!next_line()) return false;
    if (line_ != kFirstLine) return fail("this is not a poolmalloc heap profile of version 1");
    return read_header() && read_table();
  }

 private:
  bool fail(std::string what) {
    error_ = {number_, std::move(what)};
    return false;
  }

  bool next_line() {
    ++number_;
    const size_t end = rest_.find('\n');
    if (end == std::string_view::npos) {
      return fail(rest_.empty() && number_ == 1 ? "the file is empty" : "the file is cut off here");
    }
    line_ = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return true;
  }

  // Reads one line of the header by `read`, which is given what follows the keyword.
  template <typename Read>
  bool header_line(std::string_view keyword, Read read) {
    if (!next_line()) return false;
    Words words(line_);
    if (!words.literal(keyword)) return fail("expected a line that begins with \"" + std::string(keyword) + "\"");
    return read(words) && words.is_over() ? true : fail("malformed \"" + std::string(keyword) + "\" line");
  }

  bool read_header() {
    return header_line("process",
                       [this](Words& words) {
                         if (!words.number(profile_.pid) || !words.number(profile_.process_start_s)) return false;
                         profile_.executable = words.remainder();
                         return !profile_.executable.empty();
                       }) &&
           header_line("taken", [this](Words& words) { return words.time(profile_.taken_ms); }) &&
           header_line("started", [this](Words& words) { return words.time(profile_.started_ms); }) &&
           header_line("period",
                       [this](Words& words) { return words.number(profile_.period) && profile_.period > 0; }) &&
           header_line("dropped", [this](Words& words) { return words.number(profile_.dropped); });
  }

  // Mappings, sites, and the line that ends the file.
  bool read_table() {
    for (;;) {
      if (!next_line()) return false;
      Words words(line_);
      const std::string_view keyword = words.next();
      if (keyword == "mapping") {
        ProfileMapping mapping = {};
        if (!profile_.sites.empty()) return fail("a mapping behind the first site");
        if (!read_mapping(words, mapping)) return fail("malformed \"mapping\" line");
        profile_.mappings.push_back(std::move(mapping));
      } else if (keyword == "site") {
        ProfileSite site = {};
        if (!read_site(words, site)) return fail("malformed \"site\" line");
        profile_.sites.push_back(std::move(site));
      } else if (keyword == "end") {
        return read_end(words);
      } else {
        return fail("expected a line that begins with \"mapping\", \"site\" or \"end\"");
      }
    }
  }

  bool read_end(Words& words) {
    uint64_t count;
    if (!words.number(count) || !words.is_over()) return fail("malformed \"end\" line");
    if (count != profile_.sites.size()) {
      return fail("the end counts " + std::to_string(count) + " sites, but there are " +
                  std::to_string(profile_.sites.size()));
    }
    ++number_;
    return rest_.empty() ? true : fail("there is more behind the end");
  }

  std::string_view rest_;
  std::string_view line_;
  size_t number_ = 0;
  HeapProfile& profile_;
  ProfileError& error_;
};

}  // namespace

bool parse_profile(std::string_view text, HeapProfile& profile, ProfileError& error) {
  return Parser(text, profile, error).parse();
}

}  // namespace pm
