#include "config/options.h"

#include <string>
#include <vector>

#include "tests/catch.h"

namespace {

using pm::kOptionCount;
using pm::kOptionInfo;
using pm::OptionId;
using pm::Options;
using pm::TextWriter;

struct Parsed {
  Options options;
  std::string complaints;
};

Parsed parse(std::vector<const char*> environment, bool secure = false) {
  environment.push_back(nullptr);
  Parsed parsed;
  char buffer[4096];
  TextWriter complaints(buffer);
  pm::parse_options(environment.data(), secure, parsed.options, complaints);
  parsed.complaints.assign(complaints.data(), complaints.size());
  return parsed;
}

std::string value(const Options& options, const char* name) {
  const int index = pm::find_option(name, pm::text_length(name));
  REQUIRE(index >= 0);
  char buffer[512];
  const size_t length = pm::describe_option(options, static_cast<size_t>(index), buffer, sizeof buffer, nullptr);
  REQUIRE(length < sizeof buffer);
  return buffer;
}

TEST_CASE("without variables every option has its default") {
  const Parsed parsed = parse({"HOME=/root", "POOL=1", "POOLMALLOC=1", "poolmalloc_check=off"});
  CHECK(parsed.complaints.empty());
  for (size_t i = 0; i < kOptionCount; ++i) {
    INFO(kOptionInfo[i].name);
    CHECK(value(parsed.options, kOptionInfo[i].name) == kOptionInfo[i].default_text);
    CHECK(pm::is_default_option(parsed.options, i));
  }
  CHECK(parsed.options.enabled);
  CHECK((parsed.options.check == "default"));
  CHECK((parsed.options.check != "off"));
  CHECK(parsed.options.magazine_bytes == 2 << 20);
  CHECK(parsed.options.size_classes.count == 0);
  CHECK(parsed.options.stats_file[0] == '\0');
}

TEST_CASE("options are the defaults before anything ran, and an environment without any need not be parsed") {
  for (size_t i = 0; i < kOptionCount; ++i) {
    INFO(kOptionInfo[i].name);
    CHECK(pm::is_default_option(pm::process_options, i));
  }
  const char* const without[] = {"HOME=/root", "POOLMALLOC", "POOL=POOLMALLOC_CHECK=off", nullptr};
  const char* const with[] = {"HOME=/root", "POOLMALLOC_=", nullptr};
  CHECK(!pm::mentions_options(nullptr));
  CHECK(!pm::mentions_options(without));
  CHECK(pm::mentions_options(with));
}

TEST_CASE("every default and every choice is a value that set_option takes") {
  Options options = parse({}).options;
  char buffer[256];
  TextWriter reason(buffer);
  for (size_t i = 0; i < kOptionCount; ++i) {
    INFO(kOptionInfo[i].name);
    CHECK(pm::set_option(options, i, kOptionInfo[i].default_text, reason));
    if (kOptionInfo[i].kind != pm::OptionKind::choice) continue;
    const std::string words = std::string(kOptionInfo[i].allowed) + "|";
    for (size_t start = 0; start < words.size();) {
      const size_t end = words.find('|', start);
      const std::string word = words.substr(start, end - start);
      CHECK(pm::set_option(options, i, word.c_str(), reason));
      CHECK(value(options, kOptionInfo[i].name) == word);
      start = end + 1;
    }
  }
  CHECK(reason.total() == 0);
}

TEST_CASE("a null environment is an empty one") {
  Options options;
  TextWriter complaints(nullptr, 0);
  pm::parse_options(nullptr, false, options, complaints);
  CHECK((options.check == "default"));
  CHECK(complaints.total() == 0);
}

TEST_CASE("given values are taken") {
  const Parsed parsed = parse({"POOLMALLOC_CHECK=off", "POOLMALLOC_ENABLED=0", "POOLMALLOC_MAGAZINE_BYTES=1536k",
                               "POOLMALLOC_DIRTY_BYTES=1T", "POOLMALLOC_RESERVE=0", "POOLMALLOC_SIZE_CLASSES=64,192,1k",
                               "POOLMALLOC_STATS_FILE=/tmp/stats.%p", "POOLMALLOC_STATS=json"});
  CHECK(parsed.complaints.empty());
  CHECK((parsed.options.check == "off"));
  CHECK_FALSE(parsed.options.enabled);
  CHECK(parsed.options.magazine_bytes == 1536 * 1024);
  CHECK(parsed.options.dirty_bytes == uint64_t{1} << 40);
  CHECK(parsed.options.size_classes.count == 3);
  CHECK(parsed.options.size_classes.values[2] == 1024);
  CHECK(std::string(parsed.options.stats_file) == "/tmp/stats.%p");
  CHECK((parsed.options.stats == "json"));
  CHECK(value(parsed.options, "magazine_bytes") == "1536k");
  CHECK(value(parsed.options, "dirty_bytes") == "1t");
  CHECK(value(parsed.options, "size_classes") == "64,192,1k");
  CHECK_FALSE(pm::is_default_option(parsed.options, static_cast<size_t>(OptionId::check)));
  CHECK(pm::is_default_option(parsed.options, static_cast<size_t>(OptionId::reserve)));
}

TEST_CASE("a default written in another way is still the default") {
  const Parsed parsed = parse({"POOLMALLOC_MAGAZINE_BYTES=2097152"});
  CHECK(pm::is_default_option(parsed.options, static_cast<size_t>(OptionId::magazine_bytes)));
}

TEST_CASE("an empty value counts as not given, the first of two counts") {
  const Parsed parsed =
      parse({"POOLMALLOC_CHECK=", "POOLMALLOC_ENABLED=", "POOLMALLOC_MAGAZINE_BYTES=", "POOLMALLOC_DEPOT_BYTES=1m",
             "POOLMALLOC_DEPOT_BYTES=2m", "POOLMALLOC_DEPOT_BYTES=x"});
  CHECK(parsed.complaints.empty());
  CHECK((parsed.options.check == "default"));
  CHECK(parsed.options.depot_bytes == 1 << 20);
}

TEST_CASE("a bad value is one line, and the default stays") {
  const auto line = [](const char* variable) {
    const Parsed parsed = parse({variable});
    for (size_t i = 0; i < kOptionCount; ++i) CHECK(pm::is_default_option(parsed.options, i));
    return parsed.complaints;
  };
  CHECK(line("POOLMALLOC_CHECK=bogus") ==
        "poolmalloc: POOLMALLOC_CHECK=bogus is not one of off, default; using default\n");
  CHECK(line("POOLMALLOC_CHECK=off|default") ==
        "poolmalloc: POOLMALLOC_CHECK=off|default is not one of off, default; using default\n");
  CHECK(line("POOLMALLOC_FOO=1") == "poolmalloc: POOLMALLOC_FOO is not an option; ignored\n");
  CHECK(line("POOLMALLOC_=1") == "poolmalloc: POOLMALLOC_ is not an option; ignored\n");
  CHECK(line("POOLMALLOC_CHECKS=off") == "poolmalloc: POOLMALLOC_CHECKS is not an option; ignored\n");
  CHECK(line("POOLMALLOC_CHEC=off") == "poolmalloc: POOLMALLOC_CHEC is not an option; ignored\n");
  CHECK(line("POOLMALLOC_check=off") == "poolmalloc: POOLMALLOC_check is not an option; ignored\n");
  CHECK(line("POOLMALLOC_ENABLED=yes") == "poolmalloc: POOLMALLOC_ENABLED=yes is not 0 or 1; using 1\n");
  CHECK(line("POOLMALLOC_ENABLED=00") == "poolmalloc: POOLMALLOC_ENABLED=00 is not 0 or 1; using 1\n");
  for (const char* bad : {"12q", "k", "-1", " 1m", "1m ", "1.5m", "1mb", "0x10"}) {
    CHECK(line((std::string("POOLMALLOC_MAGAZINE_BYTES=") + bad).c_str()) ==
          std::string("poolmalloc: POOLMALLOC_MAGAZINE_BYTES=") + bad +
              " is not a size (a number with an optional k, m, g or t); using 2m\n");
  }
  for (const char* bad : {"1", "65535", "1025m", "99999999999999999999", "18014398509481985k"}) {
    CHECK(line((std::string("POOLMALLOC_MAGAZINE_BYTES=") + bad).c_str()) ==
          std::string("poolmalloc: POOLMALLOC_MAGAZINE_BYTES=") + bad + " is outside 64k..1g; using 2m\n");
  }
  for (const char* bad : {",", "64,", ",64", "64,,80", "64;80", "64,x"}) {
    CHECK(line((std::string("POOLMALLOC_SIZE_CLASSES=") + bad).c_str()) ==
          std::string("poolmalloc: POOLMALLOC_SIZE_CLASSES=") + bad +
              " is not a list of sizes by comma (numbers with an optional k, m, g or t); using none\n");
  }
  CHECK(line("POOLMALLOC_SIZE_CLASSES=64,1m") ==
        "poolmalloc: POOLMALLOC_SIZE_CLASSES=64,1m has a size outside 16..32k; using none\n");
}

TEST_CASE("limits of lists and texts") {
  std::string list = "POOLMALLOC_SIZE_CLASSES=16";
  for (int i = 1; i < 32; ++i) list += ",16";
  CHECK(parse({list.c_str()}).options.size_classes.count == 32);
  list += ",16";
  CHECK(parse({list.c_str()}).complaints.find("has more than 32 sizes; using none") != std::string::npos);

  const std::string longest = "POOLMALLOC_STATS_FILE=" + std::string(255, 'a');
  CHECK(value(parse({longest.c_str()}).options, "stats_file").size() == 255);
  const Parsed parsed = parse({(longest + "a").c_str()});
  CHECK(parsed.complaints == "poolmalloc: POOLMALLOC_STATS_FILE=" + std::string(80, 'a') +
                                 "... is longer than 255 characters; using none\n");
  CHECK(parsed.options.stats_file[0] == '\0');
}

TEST_CASE("what the environment holds cannot break the line") {
  CHECK(parse({"POOLMALLOC_CHECK=a\nb\x1b[31m"}).complaints ==
        "poolmalloc: POOLMALLOC_CHECK=a?b?[31m is not one of off, default; using default\n");
  CHECK(parse({"POOLMALLOC_A\nB=1"}).complaints == "poolmalloc: POOLMALLOC_A?B is not an option; ignored\n");
}

TEST_CASE("a preset comes before the values given by themselves, wherever it stands") {
  const Parsed server = parse({"POOLMALLOC_DEPOT_BYTES=8m", "POOLMALLOC_PRESET=server"});
  CHECK(server.complaints.empty());
  CHECK((server.options.preset == "server"));
  CHECK(server.options.magazine_bytes == 4 << 20);
  CHECK(server.options.depot_bytes == 8 << 20);
  CHECK(server.options.dirty_bytes == 128 << 20);
  CHECK((parse({"POOLMALLOC_PRESET=lean"}).options.huge == "never"));
  CHECK((parse({"POOLMALLOC_PRESET=lean"}).options.control == "off"));
  CHECK((parse({"POOLMALLOC_PRESET=latency"}).options.huge == "always"));
  CHECK(parse({"POOLMALLOC_PRESET=debug"}).options.verbose);
  CHECK((parse({"POOLMALLOC_PRESET=debug"}).options.stats == "1"));
  CHECK(parse({"POOLMALLOC_PRESET=none"}).options.magazine_bytes == 2 << 20);
}

TEST_CASE("a bad value leaves what the preset says") {
  CHECK(parse({"POOLMALLOC_PRESET=server", "POOLMALLOC_MAGAZINE_BYTES=12q"}).complaints ==
        "poolmalloc: POOLMALLOC_MAGAZINE_BYTES=12q is not a size (a number with an optional k, m, g or t); using 4m\n");
}

TEST_CASE("every value of presets.def is taken") {
  Options options = parse({}).options;
  char buffer[256];
  TextWriter reason(buffer);
#define PRESET(preset, option, value) \
  CHECK(pm::set_option(options, static_cast<size_t>(OptionId::option), value, reason));
#include "config/presets.def"
#undef PRESET
  CHECK(reason.total() == 0);
}

TEST_CASE("a secure process ignores its environment in silence") {
  const Parsed parsed = parse({"POOLMALLOC_CHECK=off", "POOLMALLOC_FOO=1", "POOLMALLOC_PRESET=server"}, true);
  CHECK(parsed.complaints.empty());
  CHECK((parsed.options.check == "default"));
  CHECK((parsed.options.preset == "none"));
}

TEST_CASE("live options can be changed, others not, and a refusal changes nothing") {
  Options options = parse({}).options;
  const auto change = [&](OptionId id, const char* value) {
    char buffer[256];
    TextWriter reason(buffer);
    const bool done = pm::change_option(options, static_cast<size_t>(id), value, reason);
    CHECK(done == (reason.total() == 0));
    return std::string(reason.c_str());
  };
  CHECK(change(OptionId::dirty_bytes, "1m").empty());
  CHECK(options.dirty_bytes == 1 << 20);
  CHECK(change(OptionId::dirty_bytes, "x") == "is not a size (a number with an optional k, m, g or t)");
  CHECK(options.dirty_bytes == 1 << 20);
  CHECK(change(OptionId::fit, "first") == "can be set at start only");
  CHECK((options.fit == "best"));
  CHECK(change(OptionId::huge, "never").empty());
  CHECK(change(OptionId::huge, "hugetlb") == "is refused: hugetlb is chosen at start only");
  CHECK((options.huge == "never"));
  options = parse({"POOLMALLOC_HUGE=hugetlb"}).options;
  CHECK(change(OptionId::huge, "auto") == "is refused: hugetlb is chosen at start only");
  CHECK(change(OptionId::huge, "hugetlb").empty());
  CHECK(change(OptionId::dirty_bytes, "1m").empty());
  // A file that the process would write is not for others to choose.
  CHECK(change(OptionId::stats_file, "/tmp/file") == "can be set at start only");
}

TEST_CASE("describing an option for C") {
  const Parsed parsed = parse({"POOLMALLOC_MAGAZINE_BYTES=1536k"});
  char buffer[4] = "###";
  bool is_default = true;
  const size_t index = static_cast<size_t>(OptionId::magazine_bytes);
  CHECK(pm::describe_option(parsed.options, index, buffer, sizeof buffer, &is_default) == 5);
  CHECK(std::string(buffer) == "153");
  CHECK_FALSE(is_default);
  CHECK(pm::describe_option(parsed.options, index, nullptr, 0, nullptr) == 5);
  CHECK(pm::find_option("nothing", 7) == -1);
  CHECK(pm::find_option("CHECK", 5) == -1);
  char name[64];
  TextWriter out(name);
  pm::write_variable_name(index, out);
  CHECK(std::string(out.c_str()) == "POOLMALLOC_MAGAZINE_BYTES");
}

TEST_CASE("rising numbers are as many as the default has, and rise") {
  const Parsed parsed = parse({"POOLMALLOC_PRESSURE_LEVELS=1,2,3,99,100"});
  CHECK(parsed.complaints.empty());
  CHECK(value(parsed.options, "pressure_levels") == "1,2,3,99,100");
  for (const char* bad : {"60,70,80,90", "60,70,80,90,95,99", "60,60,80,90,95", "60,80,70,90,95", "60,70,80,90,101",
                          "-5,70,80,90,95", "0,70,80,90,95", "60,70,80,90,", "60 70 80 90 95", "60%", ","}) {
    INFO(bad);
    const std::string variable = std::string("POOLMALLOC_PRESSURE_LEVELS=") + bad;
    const Parsed refused = parse({variable.c_str()});
    CHECK(value(refused.options, "pressure_levels") == "60,70,80,90,95");
    CHECK(refused.complaints.find("using 60,70,80,90,95\n") != std::string::npos);
    CHECK(refused.complaints.find('\n') == refused.complaints.size() - 1);
  }
}

}  // namespace
