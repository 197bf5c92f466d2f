#include "preload/launcher/advise.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "config/options.h"
#include "preload/launcher/target.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

std::string variable_of(const std::string& option) {
  const auto place = find_option(option.c_str(), option.size());
  if (place < 0) return option;
  char buffer[64];
  TextWriter out(buffer);
  write_variable_name(static_cast<size_t>(place), out);
  return out.c_str();
}

int print_advice(std::optional<pid_t> pid, bool as_json) {
  const std::optional<Target> target = choose_target(pid);
  if (!target) return 1;
  const auto body = std::make_unique<PageBody>();
  if (!read_page(*target, *body)) return 1;
  const std::vector<Advice> advices = recommend(*body);
  std::string text;
  Json list = Json::array();
  for (const Advice& a : advices) {
    const std::string variable = variable_of(a.option);
    text += "# " + a.reason + ".\n# Cost: " + a.cost + ".\n" + variable + "=" + a.value + "\n";
    list.push_back(
        {{"option", a.option}, {"variable", variable}, {"value", a.value}, {"reason", a.reason}, {"cost", a.cost}});
  }
  if (advices.empty()) {
    const Snapshot& s = body->snapshot;
    text = s.magazine_hits + s.magazine_misses < kLeastCalls
               ? "# Nothing to advise yet: the process has made " + grouped_text(s.allocations) + " allocations.\n"
               : "# Nothing to advise: the defaults serve this process well.\n";
  }
  if (as_json) text = list.dump(2) + "\n";
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    std::fprintf(stderr, "poolmalloc: cannot write the output\n");
    return 1;
  }
  return 0;
}

}  // namespace pm
