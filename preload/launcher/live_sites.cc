#include "preload/launcher/live_sites.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>

#include "preload/launcher/profile_estimate.h"
#include "preload/launcher/profile_stacks.h"
#include "preload/launcher/symbol_file.h"

namespace pm {
namespace {

std::string code_mappings(pid_t pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  std::string lines;
  for (std::string line; std::getline(maps, line);) {
    const size_t flags = line.find(' ');
    if (flags != std::string::npos && line.compare(flags + 3, 1, "x") == 0) lines += line + "\n";
  }
  return lines;
}

// The mapping that a line of maps describes, without the build id. False if it is of no file.
bool read_mapping(const std::string& line, ProfileMapping& out) {
  unsigned long start, end, offset;
  int path = 0;
  const int read = std::sscanf(line.c_str(), "%lx-%lx %*s %lx %*s %*s %n", &start, &end, &offset, &path);
  if (read != 3 || path == 0 || start >= end || static_cast<size_t>(path) >= line.size()) return false;
  out = {start, end, offset, {}, false, line.substr(static_cast<size_t>(path))};
  return out.path[0] == '/';
}

// The mappings that one of the addresses lies in. Which file a path means to the process is known, since it runs: the
// kernel marks the path of a file that is not there any more, and then there is no build id like this.
std::vector<ProfileMapping> mappings_around(pid_t pid, const std::string& lines,
                                            const std::vector<uint64_t>& addresses) {
  std::vector<ProfileMapping> mappings;
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line);) {
    ProfileMapping mapping;
    if (!read_mapping(line, mapping)) continue;
    const auto inside = [&](uint64_t address) { return address - mapping.start <= mapping.end - mapping.start; };
    if (std::none_of(addresses.begin(), addresses.end(), inside)) continue;
    const auto file = SymbolFile::open("/proc/" + std::to_string(pid) + "/root" + mapping.path);
    mapping.build_id = file != nullptr ? file->build_id() : "none";
    mappings.push_back(std::move(mapping));
  }
  return mappings;
}

}  // namespace

std::vector<LiveSite> LiveSites::of(pid_t pid, const PageBody& page) {
  std::string mappings = code_mappings(pid);
  if (mappings != mappings_) names_.clear();
  mappings_ = std::move(mappings);

  HeapProfile unknown = {};
  std::vector<uint64_t> addresses;
  for (uint32_t i = 0; i < page.stamp.site_rows; ++i) {
    const SiteRow& row = page.sites[i];
    const Addresses stack(row.stack, row.stack + row.frames);
    if (names_.count(stack) != 0) continue;
    names_[stack] = {};
    unknown.sites.push_back({row.size, 0, 0, 0, 0, {}, stack});
    addresses.insert(addresses.end(), stack.begin(), stack.end());
  }
  if (!unknown.sites.empty()) {
    unknown.pid = static_cast<uint64_t>(pid);
    unknown.period = 1;
    unknown.taken_ms = int64_t{std::time(nullptr)} * 1000 + 1000;
    unknown.mappings = mappings_around(pid, mappings_, addresses);
    const StackProfile profile = resolve(unknown);
    for (size_t i = 0; i < profile.stacks.size(); ++i) {
      std::vector<std::string>& names = names_[unknown.sites[i].stack];
      for (const uint32_t f : functions_of(profile, profile.stacks[i])) names.push_back(profile.functions[f].name);
      std::reverse(names.begin(), names.end());
    }
  }

  std::vector<LiveSite> sites;
  for (uint32_t i = 0; i < page.stamp.site_rows; ++i) {
    const SiteRow& row = page.sites[i];
    const Amount amount = estimate(row.samples, row.size, page.snapshot.profile_period_bytes);
    sites.push_back({row.bytes, amount.bytes.error(), static_cast<uint64_t>(amount.objects.value + 0.5), row.size,
                     names_[Addresses(row.stack, row.stack + row.frames)]});
  }
  return sites;
}

}  // namespace pm
