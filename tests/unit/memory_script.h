// The system's memory functions, watched and faked: what was asked of them is noted, and facts and answers are as a
// test says. Calls that are not faked go to the kernel.
#ifndef POOLMALLOC_TESTS_UNIT_MEMORY_SCRIPT_H_
#define POOLMALLOC_TESTS_UNIT_MEMORY_SCRIPT_H_

#include <unistd.h>

#include <vector>

#include "os/memory.h"
#include "page/granule.h"

namespace pm::test {

struct MemoryScript {
  struct Range {
    uintptr_t start;
    size_t bytes;
    bool covers(uintptr_t from, size_t length) const { return start <= from && from + length <= start + bytes; }
  };
  // Answers.
  os::HugePolicy policy = os::HugePolicy::on_advice;
  os::Collapse collapse = os::Collapse::done;
  unsigned collapse_sleeps_us = 0;
  unsigned decommit_sleeps_us = 0;
  uint64_t max_map_count = 65530;
  uint64_t mappings = 100;
  bool grants_advice = true;
  size_t hugetlb_pool = 0;  // bytes
  bool gigantic = false;    // pages of 1 GiB are to be had
  size_t resident_of_block = kBlockBytes;
  void (*during_populate)() = nullptr;  // what another thread does meanwhile
  // Notes.
  std::vector<Range> huge, small, collapsed, hugetlb, replaced, decommitted;
  unsigned policy_reads = 0;
  unsigned counts = 0;
};

inline MemoryScript script;

inline void follow_script() {
  static const os::MemoryFunctions kernel = os::memory();
  static os::MemoryFunctions scripted = kernel;
  scripted.advise_huge = [](uintptr_t start, size_t bytes) {
    script.huge.push_back({start, bytes});
    return script.grants_advice;
  };
  scripted.advise_small = [](uintptr_t start, size_t bytes) {
    script.small.push_back({start, bytes});
    return script.grants_advice;
  };
  scripted.collapse = [](uintptr_t start, size_t bytes) {
    script.collapsed.push_back({start, bytes});
    if (script.collapse_sleeps_us != 0) usleep(script.collapse_sleeps_us);
    return script.collapse;
  };
  scripted.decommit = [](const os::PageRange* ranges, size_t count) {
    for (size_t i = 0; i < count; ++i) script.decommitted.push_back({ranges[i].start, ranges[i].bytes});
    if (script.decommit_sleeps_us != 0) usleep(script.decommit_sleeps_us);
    return kernel.decommit(ranges, count);
  };
  scripted.map_hugetlb = [](uintptr_t start, size_t bytes, size_t page_bytes) {
    if (bytes > script.hugetlb_pool || (page_bytes == kGiB && !script.gigantic)) return false;
    script.hugetlb_pool -= bytes;
    script.hugetlb.push_back({start, bytes});
    return kernel.commit(start, bytes);
  };
  scripted.replace = [](uintptr_t start, size_t bytes) {
    script.replaced.push_back({start, bytes});
    return kernel.replace(start, bytes);
  };
  scripted.populate = [](uintptr_t start, size_t bytes) {
    if (script.during_populate != nullptr) script.during_populate();
    return kernel.populate(start, bytes);
  };
  scripted.resident = [](uintptr_t, size_t bytes) { return bytes == kBlockBytes ? script.resident_of_block : bytes; };
  scripted.huge_policy = [] {
    ++script.policy_reads;
    return script.policy;
  };
  scripted.max_map_count = [] { return script.max_map_count; };
  scripted.count_mappings = [] {
    ++script.counts;
    return script.mappings;
  };
  os::set_memory_functions(&scripted);
}

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_UNIT_MEMORY_SCRIPT_H_
