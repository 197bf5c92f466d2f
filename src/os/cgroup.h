// Where this process's control groups are mounted: /proc/thread-self/cgroup names them, mountinfo says what of the
// hierarchy is visible and where.
//
//   version 1   a line "4:memory:/path"; a hierarchy of its own
//   version 2   the line "0::/path"; one hierarchy for all controllers
//   hybrid      both: memory is accounted where the version 1 line has it, pressure (PSI) is in version 2 only
//
// What a container sees: without a namespace the path is the host's and the mount's root is the container's group, so
// that the mount point is the group; with one, path and root are relative to the namespace, and begin with "/.." for
// what lies outside. Both are the same rule: the path's part below the mount's root, behind the mount point.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/files.h"
#include "os/proc_text.h"

namespace pm::os {

struct GroupPath {
  static constexpr size_t kCapacity = 1024;

  uint8_t version = 0;    // 1 or 2; 0: there is none
  size_t mount_size = 0;  // the path of the topmost visible group is this long
  size_t size = 0;
  char directory[kCapacity];  // without a zero at its end
};

struct Groups {
  GroupPath memory;          // what accounts this process's memory
  GroupPath pressure;        // the version 2 group, which has memory.pressure
  uint64_t fingerprint = 0;  // of the list of groups; another one says that the process was moved
};

struct Scratch {
  char* data;
  size_t size;
};

// Finds both groups. `scratch` (at least 8 KiB) is working memory. False if neither is found.
bool find_groups(const FileFunctions& files, Scratch scratch, Groups& groups);
// The list of groups the process is in now, as text; its fingerprint tells whether it was moved.
inline constexpr const char* kGroupList = "/proc/thread-self/cgroup";

}  // namespace pm::os
