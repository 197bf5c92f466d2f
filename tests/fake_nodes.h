// A machine with several memory nodes, for tests: what the kernel would say of it, and what it is asked to bind.
#ifndef POOLMALLOC_TESTS_FAKE_NODES_H_
#define POOLMALLOC_TESTS_FAKE_NODES_H_

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "os/memory.h"
#include "os/numa.h"
#include "os/process.h"

namespace pm::test {

// Files by path; what is not there cannot be read.
inline std::map<std::string, std::string> fake_files;
inline bool fake_policy = false;

// A node that is full whatever its file says; may change while others read.
inline std::atomic<int> full_node{-1};

inline long read_fake(const char* path, char* buffer, size_t size) {
  const int full = full_node.load(std::memory_order_relaxed);
  if (full >= 0 && strstr(path, ("node" + std::to_string(full) + "/meminfo").c_str()) != nullptr) {
    return snprintf(buffer, size, "Node 0 MemTotal: 2048000 kB\nNode 0 MemFree: 0 kB\n");
  }
  const auto found = fake_files.find(path);
  if (found == fake_files.end()) return -2;
  const size_t length = std::min(found->second.size(), size - 1);
  memcpy(buffer, found->second.data(), length);
  buffer[length] = 0;
  return static_cast<long>(length);
}

inline void use_fake_files() {
  static const os::NumaFunctions functions = {read_fake, [] { return fake_policy; }};
  os::set_numa_functions(&functions);
}

inline std::string node_path(unsigned node, const char* name) {
  return "/sys/devices/system/node/node" + std::to_string(node) + "/" + name;
}

inline void set_free_bytes(unsigned node, uint64_t bytes) {
  fake_files[node_path(node, "meminfo")] =
      "Node 0 MemTotal:  2048000 kB\nNode 0 MemFree:  " + std::to_string(bytes / 1024) + " kB\nNode 0 MemUsed:  1 kB\n";
}

// One range the heap asked to bind.
struct FakeBinding {
  uintptr_t start;
  size_t bytes;
  os::NodePolicy policy;
  os::NodeMask nodes;
};
inline constexpr size_t kMostBindings = 4096;
inline FakeBinding bindings[kMostBindings];
inline std::atomic<size_t> binding_count{0};
inline bool refuse_to_bind = false;

inline bool bind_fake(uintptr_t start, size_t bytes, os::NodePolicy policy, const os::NodeMask& nodes) {
  if (refuse_to_bind) return false;
  if (binding_count.load() == kMostBindings) return true;
  bindings[binding_count.fetch_add(1) % kMostBindings] = {start, bytes, policy, nodes};
  return true;
}

// `nodes` nodes with memory; CPU n belongs to node n modulo `nodes`, so that a small machine has CPUs on several. Each
// node is the farther from another the more their numbers differ.
inline void fake_machine(unsigned nodes, unsigned cpus = 64) {
  fake_files.clear();
  const std::string all = "0-" + std::to_string(nodes - 1) + "\n";
  fake_files["/sys/devices/system/node/online"] = all;
  fake_files["/sys/devices/system/node/has_memory"] = all;
  fake_files["/proc/self/status"] = "Name:\tx\nMems_allowed_list:\t" + all;
  fake_files["/proc/thread-self/status"] = "Name:\tx\nSeccomp:\t0\n";
  for (unsigned node = 0; node < nodes; ++node) {
    std::string list;
    for (unsigned cpu = node; cpu < cpus; cpu += nodes) list += (list.empty() ? "" : ",") + std::to_string(cpu);
    fake_files[node_path(node, "cpulist")] = list + "\n";
    std::string distances;
    for (unsigned other = 0; other < nodes; ++other) {
      const unsigned apart = node < other ? other - node : node - other;
      distances += (other == 0 ? "" : " ") + std::to_string(10 + 10 * apart);
    }
    fake_files[node_path(node, "distance")] = distances + "\n";
    set_free_bytes(node, 64ULL << 30);
  }
  use_fake_files();
  static os::MemoryFunctions memory = os::memory();
  memory.bind = bind_fake;
  os::set_memory_functions(&memory);
}

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_FAKE_NODES_H_
