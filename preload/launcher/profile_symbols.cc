// resolve: which file each address of a profile lies in, whether that is the file that the process ran, and what its
// symbols say.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include "preload/launcher/profile_stacks.h"
#include "preload/launcher/symbol_file.h"

namespace pm {
namespace {

constexpr char kDeleted[] = " (deleted)";

std::string hexadecimal(uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(number));
  return text;
}

// The path as it was before the file was deleted, by which name the kernel goes on showing it.
std::string original_path(const std::string& path) {
  const size_t length = sizeof kDeleted - 1;
  const bool deleted = path.size() > length && path.compare(path.size() - length, length, kDeleted) == 0;
  return deleted ? path.substr(0, path.size() - length) : path;
}

// Where the file of a mapping may be found, best first: on this machine; as the process sees it, if it lives in a
// container that we may look into; as the kernel keeps it mapped; and the debug file of a build that is not there any
// more.
std::vector<std::string> candidates(const HeapProfile& profile, const ProfileMapping& mapping) {
  const std::string path = original_path(mapping.path);
  const std::string process = "/proc/" + std::to_string(profile.pid);
  std::vector<std::string> paths = {path, process + "/root" + path};
  if (!mapping.gone) {
    paths.push_back(process + "/map_files/" + hexadecimal(mapping.start).substr(2) + "-" +
                    hexadecimal(mapping.end).substr(2));
  }
  if (mapping.build_id.size() > 2) {
    paths.push_back("/usr/lib/debug/.build-id/" + mapping.build_id.substr(0, 2) + "/" + mapping.build_id.substr(2) +
                    ".debug");
  }
  return paths;
}

// A file without a build id can only be judged by its age.
bool is_older(const std::string& path, int64_t taken_ms) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && int64_t{status.st_mtime} * 1000 <= taken_ms;
}

class Resolver {
 public:
  explicit Resolver(const HeapProfile& profile) : profile_(profile), order_(profile.mappings.size()) {
    result_.pid = profile.pid;
    result_.executable = profile.executable;
    result_.taken_ms = profile.taken_ms;
    result_.started_ms = profile.started_ms;
    result_.period = profile.period;
    result_.dropped = profile.dropped;
    result_.mappings = profile.mappings;
    // Of mappings that were at one address in turn, the one that is there counts, or the last.
    for (uint32_t i = 0; i < order_.size(); ++i) order_[i] = i;
    std::stable_sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
      const ProfileMapping &x = profile.mappings[a], &y = profile.mappings[b];
      return x.gone != y.gone ? y.gone : a > b;
    });
  }

  StackProfile resolve() {
    for (const ProfileSite& site : profile_.sites) {
      Stack stack = {{}, site.size, estimate(site, profile_.period)};
      for (uint64_t address : site.stack) stack.locations.push_back(location_at(address));
      result_.stacks.push_back(std::move(stack));
    }
    return std::move(result_);
  }

 private:
  uint32_t mapping_at(uint64_t address) const {
    for (uint32_t index : order_) {
      const ProfileMapping& mapping = profile_.mappings[index];
      if (address >= mapping.start && address < mapping.end) return index;
    }
    return kNoMapping;
  }

  // The file of a mapping if one is found that is surely it; a note, once, if there is none but might have been.
  SymbolFile* file_of(const ProfileMapping& mapping) {
    const std::string path = original_path(mapping.path);
    if (path.empty() || path[0] != '/') return nullptr;  // [vdso], [heap] and the like
    const auto [entry, is_new] = files_.try_emplace({path, mapping.build_id});
    if (!is_new) return entry->second.get();
    std::string reason = "there is no such file any more";
    for (const std::string& candidate : candidates(profile_, mapping)) {
      std::unique_ptr<SymbolFile> file = SymbolFile::open(candidate);
      if (file == nullptr) continue;
      if (file->build_id() != mapping.build_id) {
        reason = mapping.build_id.empty() ? "the profile has no build id to know the file by"
                                          : "the file there is another build than the process ran";
      } else if (mapping.build_id.empty() && !is_older(candidate, profile_.taken_ms)) {
        reason = "the file there is newer than the profile and has no build id";
      } else {
        entry->second = std::move(file);
        return entry->second.get();
      }
    }
    result_.notes.push_back("no symbols of " + path + ": " + reason);
    return nullptr;
  }

  uint32_t function_for(Function function) {
    const auto [entry, is_new] = functions_.try_emplace({function.system_name, function.name, function.source},
                                                        static_cast<uint32_t>(result_.functions.size()));
    if (is_new) result_.functions.push_back(std::move(function));
    return entry->second;
  }

  // What the stacks hold is where calls return to, which may be the next line or even the next function: one byte
  // before is inside of the call.
  uint32_t location_at(uint64_t return_address) {
    const uint64_t address = return_address == 0 ? 0 : return_address - 1;
    const auto [entry, is_new] = locations_.try_emplace(address, static_cast<uint32_t>(result_.locations.size()));
    if (!is_new) return entry->second;
    Location location = {address, mapping_at(address), false, false, {}};
    // A stack that could not be followed at all is dumped as one address, 0.
    std::string unknown = return_address == 0 ? "[unknown]" : hexadecimal(address);
    if (location.mapping != kNoMapping) {
      const ProfileMapping& mapping = profile_.mappings[location.mapping];
      const uint64_t behind = address - mapping.start;
      uint64_t in_module = mapping.offset + behind;
      if (SymbolFile* file = file_of(mapping)) {
        if (const auto in_file = file->address_of(in_module, behind)) {
          in_module = *in_file;
          add_places(file->look_up(*in_file), location);
        }
      }
      unknown = std::filesystem::path(original_path(mapping.path)).filename().string() + "+" + hexadecimal(in_module);
    }
    if (!location.known) location.lines.push_back({function_for({unknown, unknown, {}, 0}), 0});
    result_.locations.push_back(std::move(location));
    return entry->second;
  }

  void add_places(const std::vector<Place>& places, Location& location) {
    for (const Place& place : places) {
      location.known = true;
      if (place.line != 0) location.has_lines = true;
      location.lines.push_back(
          {function_for({place.function, place.system_name, place.source, place.start_line}), place.line});
    }
  }

  const HeapProfile& profile_;
  StackProfile result_;
  std::vector<uint32_t> order_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<SymbolFile>> files_;  // by path and build id
  std::map<std::tuple<std::string, std::string, std::string>, uint32_t> functions_;
  std::map<uint64_t, uint32_t> locations_;  // by address
};

}  // namespace

StackProfile resolve(const HeapProfile& profile) { return Resolver(profile).resolve(); }

}  // namespace pm
