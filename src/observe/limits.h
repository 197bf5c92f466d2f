// The limit that will be hit first: usage and limit of the tightest group between this process's own and the topmost
// visible one, read from kept-open files.
//
// Tightest is the group with the least headroom (limit less usage), not the smallest limit: a group of 8 GiB whose
// other members hold 7.9 GiB kills sooner than an own limit of 1 GiB. Usage leaves out inactive file pages, which the
// kernel drops before it kills. memory.high counts as a limit as memory.max does: beyond it every allocation is
// throttled, which a program under it wants to be spared as much. Another group is chosen only once its headroom is an
// eighth smaller, so that two alike do not take turns.
//
// Not synchronised: one thread at a time. No allocation; some 2 KiB.
#pragma once

#include "observe/kept_file.h"
#include "os/cgroup.h"

namespace pm {

struct LimitReading {
  uint64_t usage_bytes;
  uint64_t limit_bytes;                   // UINT64_MAX: no group has one
  uint64_t events;                        // total of this group: times its limit was met
  bool soft;                              // memory.high
  bool has_usage, has_limit, has_events;  // false: could not be read
  unsigned level;                         // which group: 0 is the process's own; changes with the group
};

class GroupLimits {
 public:
  // Starts anew with the groups on the path, which may be "none".
  void locate(const os::FileFunctions& files, const os::GroupPath& place);
  // Reads every group's limit and chooses. Every second or so; limits change rarely. False if a group that was there
  // is gone: locate again.
  bool refresh(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns);
  // Usage and events of the chosen group. False if it is gone.
  bool read(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns, LimitReading& reading);
  void close(const os::FileFunctions& files);

  // For waiting (observe/waits.h): the chosen group's files and its path; nullptr where no group limits.
  KeptFile* usage_file() { return chosen_ == kNone ? nullptr : &levels_[chosen_].usage; }
  KeptFile* events_file() { return chosen_ == kNone ? nullptr : &levels_[chosen_].events; }
  // Writes the path of a file of the chosen group, ended with a zero.
  void path_of_chosen(const char* file, char (&path)[os::GroupPath::kCapacity]) const;

 private:
  struct Level {
    size_t path_size = 0;  // its directory: the first so many characters of place_.directory
    KeptFile limit, high, usage, stat, events;
    uint64_t limit_bytes = UINT64_MAX;
    bool soft = false;
    bool readable = true;    // its limit could be read, or it has none
    bool has_limits = true;  // false: no such file (the controller is not enabled there, or the root)
    uint64_t retry_ns = 0;   // no earlier than this, if there is none
    uint64_t inactive_bytes = 0;
    uint64_t stat_usage = 0;  // at the last look into memory.stat
    uint64_t stat_ns = 0;
  };
  static constexpr unsigned kMostLevels = 12;
  static constexpr unsigned kNone = kMostLevels;

  long load(const os::FileFunctions& files, os::Scratch scratch, const Level& level, KeptFile& file, const char* name);
  bool load_limit(const os::FileFunctions& files, os::Scratch scratch, const Level& level, KeptFile& file,
                  const char* name, uint64_t& value);
  bool refresh_level(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns, Level& level);
  void inherit_limit(const os::FileFunctions& files, os::Scratch scratch);
  void choose(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns);
  bool read_usage(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns, Level& level, uint64_t& usage);
  void make_path(const Level& level, const char* file, char (&path)[os::GroupPath::kCapacity]) const;
  const char* name(const char* version1, const char* version2) const {
    return place_.version == 1 ? version1 : version2;
  }

  os::GroupPath place_;
  Level levels_[kMostLevels];
  unsigned count_ = 0;
  unsigned chosen_ = kNone;
};

}  // namespace pm
