// What is written from a profile whose names are known: pprof, collapsed stacks, speedscope, tables, differences,
// leaks.
#include <zlib.h>

#include <map>
#include <nlohmann/json.hpp>

#include "preload/launcher/leaks.h"
#include "preload/launcher/profile_pprof.h"
#include "preload/launcher/profile_text.h"
#include "tests/catch.h"

namespace {

using namespace pm;
using Names = std::vector<std::string>;

// Samples of a stack given outermost first; a period of 1, so that they are objects.
struct Given {
  Names functions;
  ProfileSite site;
};

ProfileSite site(uint64_t size, uint64_t allocated, uint64_t live, std::array<uint64_t, kAgeSteps> ages = {}) {
  return {size, allocated, live, live, allocated - live, ages, {}};
}

StackProfile make(const std::vector<Given>& stacks, uint64_t first_address = 0x1000) {
  StackProfile profile;
  profile.pid = 4711;
  profile.executable = "/bin/shop";
  profile.taken_ms = 20000;
  profile.started_ms = 5000;
  profile.dropped = 2;
  profile.mappings = {{0x9000, 0xa000, 0, {}, false, "/lib/unused.so"},
                      {0x1000, 0x2000, 0x100, "abcd", false, "/bin/shop"}};
  std::map<std::string, uint32_t> known;
  for (const Given& given : stacks) {
    Stack stack = {{}, given.site.size, estimate(given.site, 1)};
    for (auto name = given.functions.rbegin(); name != given.functions.rend(); ++name) {
      const auto [entry, is_new] = known.try_emplace(*name, static_cast<uint32_t>(profile.locations.size()));
      if (is_new) {
        profile.functions.push_back({*name, *name, "shop.cc", 3});
        profile.locations.push_back({first_address + entry->second, 1, true, true, {{entry->second, 7}}});
      }
      stack.locations.push_back(entry->second);
    }
    profile.stacks.push_back(stack);
  }
  return profile;
}

// One message of the wire format: its fields in order, each a number or the bytes of a length-delimited one.
struct Field {
  uint64_t number;
  std::string bytes;
};
using Fields = std::multimap<unsigned, Field>;

uint64_t read_varint(const std::string& text, size_t& at) {
  uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    REQUIRE(at < text.size());
    const auto byte = static_cast<unsigned char>(text[at++]);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 128) return value;
  }
}

Fields decode(const std::string& text) {
  Fields fields;
  for (size_t at = 0; at < text.size();) {
    const uint64_t tag = read_varint(text, at);
    Field field = {};
    const uint64_t number = read_varint(text, at);
    if ((tag & 7) == 2) {
      REQUIRE(number <= text.size() - at);
      field.bytes = text.substr(at, number);
      at += number;
    } else {
      REQUIRE((tag & 7) == 0);
      field.number = number;
    }
    fields.emplace(static_cast<unsigned>(tag >> 3), field);
  }
  return fields;
}

std::vector<uint64_t> packed(const std::string& text) {
  std::vector<uint64_t> numbers;
  for (size_t at = 0; at < text.size();) numbers.push_back(read_varint(text, at));
  return numbers;
}

std::vector<Fields> messages(const Fields& fields, unsigned number) {
  std::vector<Fields> found;
  for (auto [at, end] = fields.equal_range(number); at != end; ++at) found.push_back(decode(at->second.bytes));
  return found;
}

uint64_t number(const Fields& fields, unsigned field) {
  return fields.count(field) == 1 ? fields.find(field)->second.number : 0;
}

TEST_CASE("the pprof message holds the profile") {
  const StackProfile profile = make({{{"main", "read"}, site(100, 9, 4)}, {{"main"}, site(16, 1, 1)}});
  const Fields fields = decode(pprof_message(profile));
  Names strings;
  for (auto [at, end] = fields.equal_range(6); at != end; ++at) strings.push_back(at->second.bytes);
  REQUIRE_FALSE(strings.empty());
  CHECK(strings[0].empty());

  Names types;
  for (const Fields& type : messages(fields, 1)) {
    types.push_back(strings.at(number(type, 1)) + "/" + strings.at(number(type, 2)));
  }
  CHECK(types == Names{"alloc_objects/count", "alloc_space/bytes", "inuse_objects/count", "inuse_space/bytes",
                       "peak_objects/count", "peak_space/bytes", "temporary_objects/count", "temporary_space/bytes"});
  CHECK(strings.at(number(fields, 14)) == "inuse_space");
  CHECK(number(fields, 9) == 20'000'000'000);
  CHECK(number(fields, 10) == 15'000'000'000);
  CHECK(number(fields, 12) == 1);

  const auto samples = messages(fields, 2);
  REQUIRE(samples.size() == 2);
  CHECK(packed(samples[0].find(2)->second.bytes) == std::vector<uint64_t>{9, 900, 4, 400, 4, 400, 5, 500});
  CHECK(packed(samples[0].find(1)->second.bytes) == std::vector<uint64_t>{1, 2});
  CHECK(number(messages(samples[0], 3).at(0), 3) == 100);

  // Only what is used; and the program first.
  const auto mappings = messages(fields, 3);
  REQUIRE(mappings.size() == 1);
  CHECK(strings.at(number(mappings[0], 5)) == "/bin/shop");
  CHECK(strings.at(number(mappings[0], 6)) == "abcd");
  CHECK(number(mappings[0], 7) == 1);
  CHECK(number(mappings[0], 10) == 0);

  const auto locations = messages(fields, 4);
  REQUIRE(locations.size() == 2);
  CHECK(number(locations[0], 2) == number(mappings[0], 1));
  CHECK(number(locations[0], 3) == 0x1000);
  const auto functions = messages(fields, 5);
  REQUIRE(functions.size() == 2);
  CHECK(number(functions[0], 1) == number(messages(locations[0], 4).at(0), 1));
  CHECK(strings.at(number(functions[0], 2)) == "read");
}

TEST_CASE("the pprof file is the message, gzipped") {
  const StackProfile profile = make({{{"main"}, site(100, 9, 4)}});
  const std::string file = pprof_file(profile);
  std::string text(1 << 16, '\0');
  z_stream stream = {};
  REQUIRE(inflateInit2(&stream, 15 + 16) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(file.data()));
  stream.avail_in = static_cast<uInt>(file.size());
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  REQUIRE(inflate(&stream, Z_FINISH) == Z_STREAM_END);
  text.resize(stream.total_out);
  inflateEnd(&stream);
  CHECK(text == pprof_message(profile));
}

TEST_CASE("negative amounts are pprof's, too") {
  const StackProfile before = make({{{"main"}, site(100, 9, 4)}});
  const Fields fields = decode(pprof_message(difference(before, make({}))));
  const auto values = packed(messages(fields, 2).at(0).find(2)->second.bytes);
  CHECK(static_cast<int64_t>(values.at(3)) == -400);
}

TEST_CASE("collapsed stacks: one line for all of the same names") {
  const StackProfile profile = make({{{"main", "read"}, site(100, 9, 4)},
                                     {{"main", "read"}, site(200, 1, 1)},
                                     {{"main", "gone"}, site(64, 5, 0)},
                                     {{"main", "<[u8; 4] as Into>::into"}, site(10, 2, 2)}});
  CHECK(collapsed_text(profile, {}) == "main;<[u8, 4] as Into>::into 20\nmain;read 600\n");
  CHECK(collapsed_text(profile, {Weight::alloc, Unit::objects}) ==
        "main;<[u8, 4] as Into>::into 2\nmain;gone 5\nmain;read 10\n");
  CHECK(collapsed_text(profile, {Weight::temporary, Unit::bytes}) == "main;gone 320\nmain;read 500\n");
}

TEST_CASE("names cannot command a terminal") {
  const StackProfile profile = make({{{"main", "\x1b[2Jbad\nname"}, site(100, 9, 4, {0, 0, 0, 0, 0, 0, 0, 4})}});
  CHECK(collapsed_text(profile, {}) == "main;?[2Jbad?name 400\n");
  for (const std::string& text :
       {top_text(profile, {}, 0), diff_text(profile, {}, 0), leaks_text(find_leaks(profile, 4, nullptr), profile, 0)}) {
    CHECK(text.find("?[2Jbad?name\n") != std::string::npos);
    CHECK(text.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("speedscope: a profile for each weight, which sums up") {
  const StackProfile profile = make({{{"main", "read"}, site(100, 9, 4)}, {{"main", "gone"}, site(64, 5, 0)}});
  const auto json = nlohmann::json::parse(speedscope_text(profile));
  REQUIRE(json["profiles"].size() == 8);
  const auto& inuse = json["profiles"][0];
  CHECK(inuse["name"] == "inuse space");
  CHECK(inuse["unit"] == "bytes");
  CHECK(inuse["endValue"] == 400);
  REQUIRE(inuse["samples"].size() == 1);
  CHECK(inuse["weights"] == nlohmann::json::array({400}));
  const auto& frames = json["shared"]["frames"];
  CHECK(frames[inuse["samples"][0][0].get<size_t>()]["name"] == "main");
  CHECK(frames[inuse["samples"][0][1].get<size_t>()]["name"] == "read");
}

TEST_CASE("names that are no UTF-8 do not stop JSON") {
  const StackProfile profile = make({{{"main\xff"}, site(100, 9, 4)}});
  CHECK(nlohmann::json::accept(speedscope_text(profile)));
  CHECK(nlohmann::json::accept(top_json(profile, {}, 0)));
  CHECK(nlohmann::json::accept(diff_json(profile, {}, 0)));
  CHECK(nlohmann::json::accept(leaks_json(find_leaks(profile, 0, nullptr), profile, 0)));
}

TEST_CASE("the table of functions counts a recursive one once") {
  const StackProfile profile =
      make({{{"main", "walk", "walk", "walk"}, site(100, 4, 4)}, {{"main", "read"}, site(600, 1, 1)}});
  const auto json = nlohmann::json::parse(top_json(profile, {}, 0));
  REQUIRE(json["functions"].size() == 3);
  CHECK(json["functions"][0]["name"] == "read");
  CHECK(json["functions"][0]["flat"]["value"] == 600);
  CHECK(json["functions"][1]["name"] == "walk");
  CHECK(json["functions"][1]["cumulative"]["value"] == 400);
  CHECK(json["functions"][2]["name"] == "main");
  CHECK(json["functions"][2]["flat"]["value"] == 0);
  CHECK(json["functions"][2]["cumulative"]["value"] == 1000);
  CHECK(nlohmann::json::parse(top_json(profile, {}, 1))["functions"].size() == 1);
}

TEST_CASE("a difference is by names, wherever the code lay, and signed") {
  const StackProfile before = make({{{"main", "grow"}, site(100, 1, 1)},
                                    {{"main", "shrink"}, site(100, 5, 5)},
                                    {{"main", "same"}, site(64, 3, 3)},
                                    {{"main", "gone"}, site(32, 2, 2)}});
  const StackProfile after = make({{{"main", "same"}, site(64, 3, 3)},
                                   {{"main", "grow"}, site(100, 4, 4)},
                                   {{"main", "shrink"}, site(100, 2, 2)},
                                   {{"main", "new"}, site(16, 1, 1)}},
                                  0x1800);
  const StackProfile change = difference(before, after);
  CHECK(collapsed_text(change, {}) == "main;gone -64\nmain;grow 300\nmain;new 16\nmain;shrink -300\n");
  CHECK(change.stacks.size() == 4);
  const auto json = nlohmann::json::parse(diff_json(change, {}, 2));
  REQUIRE(json["stacks"].size() == 2);
  CHECK(json["stacks"][0]["functions"] == Names{"main", "grow"});
  CHECK(json["stacks"][1]["functions"] == Names{"main", "shrink"});
  CHECK(json["total"]["value"] == -48);
  CHECK(difference(before, before).stacks.empty());
}

TEST_CASE("leaks are ordered by what is old, and by whether they grew") {
  const std::vector<Given> cache = {{{"main", "cache"}, site(1000, 50, 50, {0, 0, 0, 0, 0, 0, 0, 50})}};
  const auto leak = [](uint64_t objects) {
    return Given{{"main", "leak"}, site(100, objects, objects, {5, 0, 0, 0, objects - 5, 0, 0, 0})};
  };
  const auto busy = [](uint64_t objects) {
    return Given{{"main", "busy"}, site(100, 900, objects, {objects, 0, 0, 0, 0, 0, 0, 0})};
  };
  const StackProfile earlier = make({cache[0], leak(10), busy(10)});
  const StackProfile later = make({cache[0], leak(30), busy(500)});

  const size_t five_minutes = age_step(300).value();
  LeakReport report = find_leaks(later, five_minutes, nullptr);
  CHECK(report.older_than_s == 300);
  CHECK(report.old.bytes.value == 52500);
  REQUIRE(report.leaks.size() == 2);
  CHECK(report.leaks[0].functions == Names{"main", "cache"});
  CHECK(report.leaks[1].functions == Names{"main", "leak"});
  CHECK(report.leaks[1].old.objects.value == 25);
  CHECK_FALSE(report.leaks[1].growth);

  report = find_leaks(later, five_minutes, &earlier);
  REQUIRE(report.leaks.size() == 2);
  CHECK(report.leaks[0].functions == Names{"main", "leak"});
  CHECK(report.leaks[0].growth->bytes.value == 2000);
  CHECK(report.leaks[1].growth->bytes.value == 0);
  CHECK(find_leaks(later, age_step(0).value(), nullptr).leaks.size() == 3);
}

TEST_CASE("ages have steps") {
  CHECK(age_step(0) == 0);
  CHECK(age_step(1) == 1);
  CHECK(age_step(11) == 3);
  CHECK(age_step(300) == 4);
  CHECK(age_step(43200) == 7);
  CHECK_FALSE(age_step(43201));
}

TEST_CASE("amounts in words") {
  CHECK(human_amount(0, Unit::bytes) == "0 B");
  CHECK(human_amount(1023, Unit::bytes) == "1023 B");
  CHECK(human_amount(1024, Unit::bytes) == "1.0 KiB");
  CHECK(human_amount(1048575, Unit::bytes) == "1.0 MiB");
  CHECK(human_amount(-0.2, Unit::bytes) == "0 B");
  CHECK(human_amount(1e300, Unit::bytes) == "15.6 EiB");
  CHECK(human_amount(-1610612736, Unit::bytes) == "-1.5 GiB");
  CHECK(human_amount(1234567, Unit::objects) == "1234567");
  CHECK(human_estimate({2048, 1024.0 * 1024}, Unit::bytes) == "2.0 KiB ± 1.0 KiB");
  CHECK(human_estimate({2048, 0}, Unit::bytes) == "2.0 KiB");
}

}  // namespace
