#include "preload/launcher/advise.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "config/options.h"
#include "preload/launcher/output_file.h"
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
  const Snapshot& s = body->snapshot;
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
    text = s.magazine_hits + s.magazine_misses < kLeastCalls
               ? "# Nothing to advise yet: the process has made " + grouped_text(s.allocations) + " allocations.\n"
               : "# Nothing to advise: the defaults serve this process well.\n";
  }
  if (s.profile_period_bytes == 0 && !is_set(*body, "size_classes")) {
    text += "# Which sizes it asks for is not known; a heap profile tells: poolmalloc prof start " +
            std::to_string(target->pid) + "\n";
  }
  return print_output(as_json ? list.dump(2) + "\n" : text);
}

}  // namespace pm
