#include "observe/limits.h"

#include <cerrno>
#include <initializer_list>

#include "base/text.h"

namespace pm {
namespace {

constexpr uint64_t kSecond = 1000000000;
// Controllers are rarely enabled later.
constexpr uint64_t kRetryNs = 60 * kSecond;

uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

}  // namespace

void GroupLimits::locate(const os::FileFunctions& files, const os::GroupPath& place) {
  close(files);
  place_ = place;
  if (place.version == 0) return;
  // From the process's own group upward.
  for (size_t size = place.size; count_ < kMostLevels;) {
    levels_[count_] = Level{};
    levels_[count_++].path_size = size;
    if (size <= place.mount_size) break;
    while (size > place.mount_size && place.directory[size - 1] != '/') --size;
    if (size > place.mount_size) --size;
  }
}

void GroupLimits::close(const os::FileFunctions& files) {
  for (unsigned i = 0; i < count_; ++i) {
    Level& level = levels_[i];
    for (KeptFile* file : {&level.limit, &level.high, &level.usage, &level.stat, &level.events}) file->close(files);
  }
  count_ = 0;
  chosen_ = kNone;
}

void GroupLimits::make_path(const Level& level, const char* file, char (&path)[os::GroupPath::kCapacity]) const {
  TextWriter out(path);
  out.text(place_.directory, level.path_size).character('/').text(file);
  out.c_str();
}

void GroupLimits::path_of_chosen(const char* file, char (&path)[os::GroupPath::kCapacity]) const {
  path[0] = '\0';
  if (chosen_ != kNone) make_path(levels_[chosen_], file, path);
}

long GroupLimits::load(const os::FileFunctions& files, os::Scratch scratch, const Level& level, KeptFile& file,
                       const char* file_name) {
  char path[os::GroupPath::kCapacity];
  if (!file.is_open()) make_path(level, file_name, path);
  long size = file.read(files, scratch.data, scratch.size);
  if (size == -EBADF) {
    make_path(level, file_name, path);
    size = file.load(files, path, scratch.data, scratch.size);
  }
  return size;
}

bool GroupLimits::load_limit(const os::FileFunctions& files, os::Scratch scratch, const Level& level, KeptFile& file,
                             const char* file_name, uint64_t& value) {
  const long size = load(files, scratch, level, file, file_name);
  return size > 0 && os::read_limit(os::whole_lines({scratch.data, static_cast<size_t>(size)}), value);
}

bool GroupLimits::refresh_level(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns, Level& level) {
  if (!level.has_limits && now_ns < level.retry_ns && level.retry_ns - now_ns <= kRetryNs) return true;
  const long size = load(files, scratch, level, level.limit, name("memory.limit_in_bytes", "memory.max"));
  level.soft = false;
  level.readable = true;
  if (size == -ENOENT) {
    // The controller is not enabled here, or this is the root of version 2; if it was there before, the group is gone.
    const bool was_there = level.has_limits && level.limit_bytes != UINT64_MAX;
    level.has_limits = false;
    level.limit_bytes = UINT64_MAX;
    level.retry_ns = now_ns + kRetryNs;
    return !was_there;
  }
  level.has_limits = true;
  level.readable =
      size > 0 && os::read_limit(os::whole_lines({scratch.data, static_cast<size_t>(size)}), level.limit_bytes);
  if (!level.readable) level.limit_bytes = UINT64_MAX;
  uint64_t high = UINT64_MAX;
  if (place_.version == 2 && load_limit(files, scratch, level, level.high, "memory.high", high) &&
      high < level.limit_bytes) {
    level.limit_bytes = high;
    level.soft = true;
  }
  return size != -ENODEV;
}

// Version 1 tells the tightest limit above a group even where the group that has it is not visible, as that of a pod
// from inside its container. Its usage is not known; that of the topmost visible group is the nearest there is.
void GroupLimits::inherit_limit(const os::FileFunctions& files, os::Scratch scratch) {
  if (place_.version != 1 || count_ == 0) return;
  const long size = load(files, scratch, levels_[0], levels_[0].stat, "memory.stat");
  uint64_t inherited = UINT64_MAX;
  if (size <= 0 || !os::find_value({scratch.data, static_cast<size_t>(size)}, "hierarchical_memory_limit", inherited)) {
    return;
  }
  for (unsigned i = 0; i < count_; ++i) {
    if (levels_[i].limit_bytes <= inherited) return;
  }
  if (inherited < uint64_t{1} << 60) levels_[count_ - 1].limit_bytes = inherited;
}

bool GroupLimits::refresh(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns) {
  bool all_there = true;
  for (unsigned i = 0; i < count_; ++i) all_there = refresh_level(files, scratch, now_ns, levels_[i]) && all_there;
  inherit_limit(files, scratch);
  choose(files, scratch, now_ns);
  return all_there;
}

void GroupLimits::choose(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns) {
  uint64_t headroom[kMostLevels] = {};
  unsigned best = kNone;
  for (unsigned i = 0; i < count_; ++i) {
    Level& level = levels_[i];
    if (level.limit_bytes == UINT64_MAX) continue;
    uint64_t usage = 0;
    read_usage(files, scratch, now_ns, level, usage);
    headroom[i] = level.limit_bytes > usage ? level.limit_bytes - usage : 0;
    if (best == kNone || headroom[i] < headroom[best]) best = i;
  }
  const bool may_stay = chosen_ != kNone && best != kNone && levels_[chosen_].limit_bytes != UINT64_MAX;
  if (may_stay && headroom[best] >= headroom[chosen_] - headroom[chosen_] / 8) return;
  chosen_ = best;
}

bool GroupLimits::read_usage(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns, Level& level,
                             uint64_t& usage) {
  uint64_t total = 0;
  if (!load_limit(files, scratch, level, level.usage, name("memory.usage_in_bytes", "memory.current"), total)) {
    return false;
  }
  // memory.stat costs as much as all the rest, so it is read when a second has gone by or usage has moved.
  const bool stale = now_ns < level.stat_ns || now_ns - level.stat_ns >= kSecond ||
                     distance(total, level.stat_usage) > level.limit_bytes / 256;
  if (stale) {
    const long size = load(files, scratch, level, level.stat, "memory.stat");
    const os::Text text = {scratch.data, size > 0 ? static_cast<size_t>(size) : 0};
    // In version 1, the plain key counts the group alone, without its children.
    if (!os::find_value(text, name("total_inactive_file", "inactive_file"), level.inactive_bytes) &&
        !os::find_value(text, "inactive_file", level.inactive_bytes)) {
      level.inactive_bytes = 0;
    }
    level.stat_ns = now_ns;
    level.stat_usage = total;
  }
  usage = total > level.inactive_bytes ? total - level.inactive_bytes : 0;
  return true;
}

bool GroupLimits::read(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns, LimitReading& reading) {
  reading = {0, UINT64_MAX, 0, false, false, false, false, chosen_};
  bool any_limits = false;
  bool all_readable = true;
  for (unsigned i = 0; i < count_; ++i) {
    any_limits = any_limits || levels_[i].has_limits;
    all_readable = all_readable && levels_[i].readable;
  }
  // A version 2 root holds no limit files: then it is known that there is none.
  reading.has_limit = count_ > 0 && all_readable && (any_limits || place_.version == 2);
  if (chosen_ == kNone) {
    reading.has_events = reading.has_limit;
    return true;
  }
  Level& level = levels_[chosen_];
  reading.limit_bytes = level.limit_bytes;
  reading.soft = level.soft;
  reading.has_usage = read_usage(files, scratch, now_ns, level, reading.usage_bytes);

  const long size = load(files, scratch, level, level.events, name("memory.failcnt", "memory.events"));
  const os::Text text = os::whole_lines({scratch.data, size > 0 ? static_cast<size_t>(size) : 0});
  if (place_.version == 1) {
    reading.has_events = os::read_number(text, reading.events);
  } else {
    uint64_t high = 0;
    uint64_t met = 0;
    reading.has_events = os::find_value(text, "high", high) && os::find_value(text, "max", met);
    reading.events = high + met;
  }
  return reading.has_usage;
}

}  // namespace pm
