// What a machine and a process say about themselves, read from files: the raw material of `doctor`.
//
// Everything hangs below a root folder, so that a test can make a machine of its own. What cannot be read is empty.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_FACTS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_FACTS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pm {

struct MachineFacts {
  std::string kernel;  // "6.1.0-18-amd64"
  int kernel_major = 0, kernel_minor = 0;
  std::optional<uint64_t> max_map_count;
  std::optional<uint64_t> overcommit_memory;  // 0 heuristic, 1 always, 2 never
  std::string huge_pages;                     // the mode in force: always, madvise, never
  std::string huge_defrag;                    // the same of khugepaged's and faults' effort
  std::optional<uint64_t> hugetlb_pages;      // reserved by the administrator
  std::optional<uint64_t> total_bytes, available_bytes, swap_bytes;
  bool pressure_stalls = false;  // /proc/pressure/memory
  unsigned nodes = 1;
};

struct ProcessFacts {
  pid_t pid = 0;
  std::string program;
  bool readable = false;                        // its environment and mappings
  std::optional<uint64_t> address_space_limit;  // RLIMIT_AS in bytes; empty: none
  uint64_t mappings = 0;
  unsigned seccomp = 0;                                        // 0 none, 1 strict, 2 filter
  bool huge_pages_off = false;                                 // PR_SET_THP_DISABLE
  std::vector<std::string> other_allocators;                   // files of them that are mapped as well
  std::vector<std::pair<std::string, std::string>> variables;  // those that begin with POOLMALLOC_
  std::string tunables;                                        // GLIBC_TUNABLES
  bool preloaded = false;                                      // named in LD_PRELOAD
  std::optional<uint64_t> heap_resident_bytes;                 // of the range that was asked about
};

MachineFacts read_machine(const std::string& root = "");

// Looks at a process; the range is that of its heap, to count what of it is resident.
ProcessFacts read_process(pid_t pid, uint64_t heap_begin, uint64_t heap_end, const std::string& root = "");

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_FACTS_H_
