#include "os/numa.h"

#include <linux/mempolicy.h>

#include <cstring>

#include "base/text.h"
#include "os/process.h"
#include "os/syscall.h"

namespace pm::os {
namespace {

// The file that read_numa has at hand: as much as sysfs gives. Not on the stack, which may be a signal handler's.
char text[4096];

bool kernel_has_policy() {
  if (is_filtered()) return false;
  int mode = MPOL_DEFAULT;
  return !failed(raw_syscall(SYS_get_mempolicy, argument(&mode), 0, 0, 0, 0)) && mode != MPOL_DEFAULT;
}

constexpr NumaFunctions kKernel = {read_small_file, kernel_has_policy};
const NumaFunctions* replaced = nullptr;

// The kernel keeps a part of a node back, a twentieth at most where it makes huge pages, and goes to the next node
// before it takes from that.
constexpr uint64_t kReserve = 20;

// Calls use(n) for each number below `end` of a list such as "0-3,8".
template <typename Use>
void each_in_list(const char* p, unsigned end, Use use) {
  while (is_digit(*p)) {
    const uint64_t first = decimal_at(p);
    const uint64_t last = *p == '-' ? decimal_at(++p) : first;
    for (uint64_t n = first; n <= last && n < end; ++n) use(static_cast<unsigned>(n));
    if (*p == ',') ++p;
  }
}

bool read_node_file(unsigned node, const char* name, char* buffer, size_t size) {
  char path[64];
  TextWriter writer(path);
  writer.text("/sys/devices/system/node/node").number(node).text("/").text(name);
  return numa().read(writer.c_str(), buffer, size) > 0;
}

bool read_mask(const char* path, NodeMask& mask) {
  mask = {};
  if (numa().read(path, text, sizeof text) <= 0) return false;
  each_in_list(text, NodeMask::kNodes, [&](unsigned node) { mask.add(node); });
  return true;
}

// The nodes that this process may have memory from, by its cpuset. False if the kernel does not tell.
bool read_allowed(NodeMask& mask) {
  mask = {};
  if (numa().read("/proc/self/status", text, sizeof text) <= 0) return false;
  constexpr char kLine[] = "\nMems_allowed_list:\t";
  const char* const p = strstr(text, kLine);
  if (p == nullptr) return false;
  each_in_list(p + sizeof kLine - 1, NodeMask::kNodes, [&](unsigned node) { mask.add(node); });
  return true;
}

template <typename Use>
void each_node(const NodeMask& mask, Use use) {
  for (unsigned node = 0; node < NodeMask::kNodes; ++node) {
    if (mask.has(node)) use(node);
  }
}

// Calls use(node, distance) for each online node, as seen from `from`: its file has one number for each of them.
template <typename Use>
void each_distance(unsigned from, const NodeMask& online, Use use) {
  if (!read_node_file(from, "distance", text, sizeof text)) return;
  const char* p = text;
  each_node(online, [&](unsigned node) {
    while (*p == ' ') ++p;
    if (is_digit(*p)) use(node, static_cast<unsigned>(decimal_at(p)));
  });
}

constexpr unsigned kNone = UINT32_MAX;

// Our numbers of the kernel's nodes, while the map is made.
struct Numbers {
  uint8_t of_node[NodeMask::kNodes];
  NodeMask known;

  unsigned of(unsigned node) const { return known.has(node) ? of_node[node] : kNone; }
};

// The number that CPUs of the node have: its own or, where it has no memory, that of the nearest which has.
unsigned number_for_cpus(unsigned node, const Numbers& numbers, const NodeMask& online) {
  if (numbers.known.has(node)) return numbers.of(node);
  unsigned nearest = 0;
  unsigned shortest = kNone;
  each_distance(node, online, [&](unsigned other, unsigned distance) {
    if (!numbers.known.has(other) || distance >= shortest) return;
    shortest = distance;
    nearest = numbers.of(other);
  });
  return nearest;
}

// The kernel's node of the CPU, or kNone.
unsigned node_with_cpu(uint32_t cpu, const NodeMask& online) {
  unsigned found = kNone;
  each_node(online, [&](unsigned node) {
    if (found != kNone || !read_node_file(node, "cpulist", text, sizeof text)) return;
    each_in_list(text, kMaxNodeCpus, [&](unsigned n) { found = n == cpu ? node : found; });
  });
  return found;
}

void give_numbers(unsigned first, NumaMap& map, Numbers& numbers) {
  unsigned next = 0;
  const auto give = [&](unsigned node) {
    const unsigned number = next++ % kMaxNodes;
    if (numbers.known.has(node)) return;
    numbers.known.add(node);
    numbers.of_node[node] = static_cast<uint8_t>(number);
    map.shared[number] = next > kMaxNodes;
    if (next <= kMaxNodes) map.kernel_node[number] = static_cast<uint16_t>(node);
  };
  if (map.kernel_nodes.has(first)) give(first);
  each_node(map.kernel_nodes, [&](unsigned node) {
    if (node != first) give(node);
  });
  map.count = next < kMaxNodes ? next : kMaxNodes;
}

void fill(const NodeMask& online, const Numbers& numbers, NumaMap& map) {
  each_node(online, [&](unsigned node) {
    const unsigned number = number_for_cpus(node, numbers, online);
    if (!read_node_file(node, "cpulist", text, sizeof text)) return;
    each_in_list(text, kMaxNodeCpus, [&](unsigned cpu) {
      map.node_of_cpu[cpu] = static_cast<uint8_t>(number);
      map.has_cpus[number] = true;
    });
  });
  for (unsigned number = 0; number < map.count; ++number) {
    for (unsigned other = 0; other < map.count; ++other) map.distance[number][other] = number == other ? 10 : 255;
    each_distance(map.kernel_node[number], online, [&](unsigned node, unsigned distance) {
      const unsigned other = numbers.of(node);
      if (other == kNone || map.kernel_node[other] != node) return;
      map.distance[number][other] = static_cast<uint8_t>(distance < 255 ? distance : 255);
    });
  }
}

}  // namespace

const NumaFunctions& numa() { return replaced == nullptr ? kKernel : *replaced; }
void set_numa_functions(const NumaFunctions* functions) { replaced = functions; }

bool read_numa(uint32_t cpu, NumaMap& map) {
  map = {};
  map.count = map.with_memory = 1;
  NodeMask online;
  NodeMask with_memory;
  if (!read_mask("/sys/devices/system/node/online", online)) return false;
  if (!read_mask("/sys/devices/system/node/has_memory", with_memory)) with_memory = online;
  unsigned nodes = 0;
  each_node(with_memory, [&](unsigned) { ++nodes; });
  NodeMask allowed;
  if (nodes > 1 && read_allowed(allowed)) {
    for (size_t i = 0; i < sizeof allowed.words / sizeof allowed.words[0]; ++i)
      with_memory.words[i] &= allowed.words[i];
  }
  nodes = 0;
  each_node(with_memory, [&](unsigned node) {
    if (nodes++ == 0) map.kernel_node[0] = static_cast<uint16_t>(node);
  });
  if (nodes == 0) return false;
  map.kernel_nodes = with_memory;
  map.with_memory = nodes;
  if (nodes == 1) return true;
  Numbers numbers = {};
  const unsigned home = node_with_cpu(cpu, online);
  give_numbers(home, map, numbers);
  fill(online, numbers, map);
  return true;
}

namespace {

// The kilobytes behind a label of meminfo; false if it is not there.
bool read_kilobytes(const char* buffer, const char* label, uint64_t* kilobytes) {
  const char* p = strstr(buffer, label);
  if (p == nullptr) return false;
  for (p += strlen(label); *p == ' ';) ++p;
  *kilobytes = decimal_at(p);
  return true;
}

}  // namespace

uint64_t free_node_bytes(unsigned kernel_node) {
  char buffer[256];  // the lines are the first two
  uint64_t total;
  uint64_t free;
  if (!read_node_file(kernel_node, "meminfo", buffer, sizeof buffer) || !read_kilobytes(buffer, "MemTotal:", &total) ||
      !read_kilobytes(buffer, "MemFree:", &free)) {
    return UINT64_MAX;
  }
  return free > total / kReserve ? (free - total / kReserve) * 1024 : 0;
}

bool is_filtered() {
  char buffer[2048];
  const long length = numa().read("/proc/thread-self/status", buffer, sizeof buffer);
  if (length <= 0) return true;
  const char* const p = strstr(buffer, "\nSeccomp:\t");
  // A kernel without filters has no such line; a file longer than usual may have it further down.
  return p != nullptr ? p[10] != '0' : static_cast<size_t>(length) + 1 == sizeof buffer;
}

}  // namespace pm::os
