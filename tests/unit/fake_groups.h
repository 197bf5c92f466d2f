// Groups of a FakeFiles tree, with the files the kernel gives them.
#ifndef POOLMALLOC_TESTS_UNIT_FAKE_GROUPS_H_
#define POOLMALLOC_TESTS_UNIT_FAKE_GROUPS_H_

#include <string>

#include "tests/unit/fake_files.h"

namespace pm::test {

inline constexpr uint64_t kMiB = 1 << 20;
inline const std::string kNone1 = "9223372036854771712";

inline std::string mib(uint64_t n) { return std::to_string(n * kMiB); }

// Version 1: sizes in MiB; `limit` 0 is none.
inline void group1(FakeFiles& files, const std::string& path, uint64_t usage, uint64_t limit, uint64_t inactive = 0,
                   const std::string& hierarchical = kNone1) {
  files.set(path + "/cgroup.procs", "");
  files.set(path + "/cgroup.event_control", "");
  files.set(path + "/memory.usage_in_bytes", mib(usage) + "\n");
  files.set(path + "/memory.limit_in_bytes", (limit == 0 ? kNone1 : mib(limit)) + "\n");
  files.set(path + "/memory.failcnt", "0\n");
  files.set(path + "/memory.stat", "cache 0\ninactive_file 1\nhierarchical_memory_limit " + hierarchical +
                                       "\ntotal_inactive_file " + mib(inactive) + "\n");
}

// Version 2, likewise; the root has none of the memory files.
inline void root2(FakeFiles& files, const std::string& path) {
  files.set(path + "/cgroup.procs", "");
  files.set(path + "/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=100\nfull avg10=0.00 total=0\n");
}
inline void group2(FakeFiles& files, const std::string& path, uint64_t usage, const std::string& max,
                   const std::string& high = "max", uint64_t inactive = 0) {
  root2(files, path);
  files.set(path + "/memory.current", mib(usage) + "\n");
  files.set(path + "/memory.max", max + "\n");
  files.set(path + "/memory.high", high + "\n");
  files.set(path + "/memory.stat", "anon 1\ninactive_file " + mib(inactive) + "\nactive_file 5\n");
  files.set(path + "/memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n");
}

inline void process(FakeFiles& files, const std::string& groups, const std::string& mounts) {
  files.set("/proc/thread-self/cgroup", groups);
  files.set("/proc/thread-self/mountinfo",
            "22 27 0:21 / /proc rw,relatime - proc proc rw\n27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" + mounts);
  files.set("/proc/thread-self/statm", "2000 1000 100 10 0 500 0\n");
  files.set("/proc/meminfo", "MemTotal:  1000000 kB\nMemFree:  1 kB\nMemAvailable:  500000 kB\n");
  files.set("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000\nfull avg10=0.00 total=0\n");
}

inline const std::string kMount1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n";
inline const std::string kMount2 = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_UNIT_FAKE_GROUPS_H_
