#include "page/nodes.h"

#include "os/memory.h"
#include "os/numa.h"
#include "os/process.h"
#include "page/mapping_budget.h"
#include "page/shard.h"

namespace pm {
namespace nodes {

std::atomic<unsigned> count{1};
std::atomic<size_t> learn_at{SIZE_MAX};
std::atomic<bool> binds{false};

namespace {

// Below it a process is too small to care, and sysfs too dear.
constexpr size_t kLearnAt = 32 * kMiB;

// Written by the learner, constant once `count` is published.
PM_WIDE os::NumaMap map;
std::atomic<bool> learning{false};

// What fresh memory is bound to where that is not its node; written by nodes_init, constant afterwards.
bool all_alike = false;
os::NodePolicy policy_for_all = os::NodePolicy::preferred;
os::NodeMask nodes_for_all;

// Relaxed: whole rows may be replaced while others read them; each entry is a node at any time.
std::atomic<uint8_t> orders[kMaxNodes][kMaxNodes];

// Relaxed; read by the statistics.
std::atomic<uint64_t> fallbacks{0};
std::atomic<uint64_t> bound_bytes{0};
std::atomic<uint64_t> bind_failures{0};
// Once a filter is in force it stays.
std::atomic<bool> filtered{false};

// Until when a node that was found full is taken for full without another look. Relaxed: a hint.
constexpr uint64_t kFullFor = 50'000'000;  // nanoseconds
std::atomic<uint64_t> full_until[kMaxNodes];

// Whether `a` helps `node` before `b` does.
bool nearer(unsigned node, unsigned a, unsigned b) {
  if (a == node || b == node) return a == node;
  if (map.has_cpus[a] != map.has_cpus[b]) return map.has_cpus[a];
  if (map.distance[node][a] != map.distance[node][b]) return map.distance[node][a] < map.distance[node][b];
  return a < b;
}

void order_by_distance() {
  for (unsigned node = 0; node < map.count; ++node) {
    for (unsigned other = 0; other < map.count; ++other) {
      unsigned place = 0;
      for (unsigned third = 0; third < map.count; ++third) place += third != other && nearer(node, third, other);
      orders[node][place].store(static_cast<uint8_t>(other), std::memory_order_relaxed);
    }
  }
}

}  // namespace

PM_RARE void learn() {
  if (learning.exchange(true, std::memory_order_acquire)) return;
  if (os::read_numa(os::current_cpu(), map) && map.count > 1 && !os::numa().has_policy()) {
    order_by_distance();
    shards.make(shards_of(1), shards_of(map.count));
    // Publishes the count too.
    if (region.divide(map.count)) binds.store(true, std::memory_order_release);
  }
  learn_at.store(SIZE_MAX, std::memory_order_relaxed);
}

unsigned of_cpu(uint32_t cpu) { return cpu < os::kMaxNodeCpus ? map.node_of_cpu[cpu] : 0; }

void put_cpu_on(uint32_t cpu, unsigned node) { map.node_of_cpu[cpu] = static_cast<uint8_t>(node); }

bool has_room(unsigned node, size_t bytes) {
  if (map.shared[node]) return true;
  const uint64_t until = full_until[node].load(std::memory_order_relaxed);
  if (until != 0 && os::monotonic_ns() < until) return false;
  const bool room = os::free_node_bytes(map.kernel_node[node]) >= bytes;
  if (room && until == 0) return true;
  full_until[node].store(room ? 0 : os::monotonic_ns() + kFullFor, std::memory_order_relaxed);
  return room;
}

// A filter may end the process for a call like this one, and may be put in force at any time.
void bind(uintptr_t start, size_t bytes, unsigned node) {
  if (!all_alike && map.shared[node]) return;
  if (filtered.load(std::memory_order_relaxed)) return;
  if (os::is_filtered()) return filtered.store(true, std::memory_order_relaxed);
  os::NodeMask one = {};
  if (!all_alike) one.add(map.kernel_node[node]);
  // A chunk beside others of its node merges with them.
  if (!mapping_budget.take(1)) {
    bind_failures.fetch_add(1, std::memory_order_relaxed);
  } else if (os::memory().bind(start, bytes, policy_for_all, all_alike ? nodes_for_all : one)) {
    bound_bytes.fetch_add(bytes, std::memory_order_relaxed);
  } else {
    mapping_budget.note_refusal(1);
    bind_failures.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace nodes

bool nodes_init(const NumaOptions& options) {
  using namespace nodes;
  if (options.mode == NumaMode::off) return true;
  if (options.mode == NumaMode::automatic && options.preferred < 0) {
    learn_at.store(kLearnAt, std::memory_order_relaxed);
    return true;
  }
  const bool known = os::read_numa(os::current_cpu(), map);
  const bool several = known && map.with_memory > 1;
  if (options.preferred >= 0) {
    const auto node = static_cast<unsigned>(options.preferred);
    const bool exists = known ? map.kernel_nodes.has(node) : node == 0;
    if (exists) {
      nodes_for_all.add(node);
      all_alike = several;
      binds.store(several, std::memory_order_release);
      return true;
    }
  }
  if (options.mode == NumaMode::interleave) {
    policy_for_all = os::NodePolicy::interleave;
    nodes_for_all = map.kernel_nodes;
    all_alike = several;
    binds.store(several, std::memory_order_release);
  } else {
    learn_at.store(kLearnAt, std::memory_order_relaxed);
  }
  return options.preferred < 0;
}

unsigned fallback_node(unsigned node, unsigned i) { return nodes::orders[node][i].load(std::memory_order_relaxed); }

bool set_fallback_order(unsigned node, const uint8_t* order) {
  const unsigned n = node_count();
  if (node >= n || order[0] != node) return false;
  uint32_t seen = 0;
  for (unsigned i = 0; i < n; ++i) seen |= order[i] < n ? 1U << order[i] : 0;
  if (seen != low_bits(n)) return false;
  for (unsigned i = 0; i < n; ++i) nodes::orders[node][i].store(order[i], std::memory_order_relaxed);
  return true;
}

unsigned kernel_node(unsigned node) { return nodes::map.kernel_node[node]; }

void count_fallback() { nodes::fallbacks.fetch_add(1, std::memory_order_relaxed); }

NodeCounters node_counters() {
  return {nodes::fallbacks.load(std::memory_order_relaxed), nodes::bound_bytes.load(std::memory_order_relaxed),
          nodes::bind_failures.load(std::memory_order_relaxed)};
}

void nodes_after_fork_child() {
  using namespace nodes;
  // SIZE_MAX: learnt, or never to be.
  if (learn_at.load(std::memory_order_relaxed) == SIZE_MAX) return;
  if (node_count() == 1) {
    learning.store(false, std::memory_order_relaxed);
  } else {  // the learner had come as far as the region
    binds.store(true, std::memory_order_release);
    learn_at.store(SIZE_MAX, std::memory_order_relaxed);
  }
}

}  // namespace pm
