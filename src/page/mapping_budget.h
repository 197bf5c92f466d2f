// How many more kernel mappings this process may have. vm.max_map_count limits them for the whole process: at the limit
// mmap, mprotect and even munmap fail, for the program as for us. So whatever splits a mapping (advice for a part of
// one, moved pages, pages of hugetlbfs) asks here first, and at 70 % of the limit the answer is no.
//
// The number is an estimate: the process's mappings when they were last counted, and the splits since. Counting reads
// /proc/self/maps, which costs the more the more there are, so it is done again when an eighth of the room was used
// up, and near the limit once a second at most, or less often where it takes long. What merges again, and what the
// program maps, the next count knows.
//
// Thread-safe; relaxed, because every value is a hint. Must not be asked under a lock that an allocation may want.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/compiler.h"

namespace pm {

class MappingBudget {
 public:
  // Whether a change may add up to `mappings`; they count from here on.
  bool take(uint32_t mappings);
  // The change did not happen.
  void give_back(uint32_t mappings);
  // The system refused the change: for a second nothing more is granted, and then it is counted afresh.
  void note_refusal(uint32_t mappings);

  // Mappings of the process.
  uint64_t estimate();
  uint64_t refusals() const { return refusals_.load(std::memory_order_relaxed); }

 private:
  void count(uint64_t now);
  uint64_t known() const;

  std::atomic<uint64_t> counted_{0};  // at the last count; 0 before the first
  std::atomic<int64_t> since_{0};     // split since
  std::atomic<uint64_t> limit_{0};    // 70 % of vm.max_map_count
  std::atomic<uint64_t> next_count_{0};
  std::atomic<uint64_t> refused_until_{0};
  std::atomic<uint64_t> refusals_{0};
};

extern PM_SHARED MappingBudget mapping_budget;

}  // namespace pm
