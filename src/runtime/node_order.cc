#include "runtime/node_order.h"

#include <atomic>

#include "base/compiler.h"
#include "page/nodes.h"

namespace pm {
namespace {

std::atomic<bool> asked{false};

constexpr unsigned kNone = UINT32_MAX;

// The heap's number of a node of the kernel's, or kNone.
unsigned number_of(unsigned kernel) {
  for (unsigned node = 0; node < node_count(); ++node) {
    if (kernel_node(node) == kernel) return node;
  }
  return kNone;
}

}  // namespace

PM_START bool node_order_is_due() {
  if (PM_LIKELY(node_count() == 1)) return false;
  return !asked.load(std::memory_order_relaxed) && !asked.exchange(true, std::memory_order_relaxed);
}

bool use_node_order(const Topology& machine) {
  const unsigned nodes = node_count();
  unsigned known = 0;
  for (uint32_t i = 0; i < machine.order_length; ++i)
    known += number_of(machine.nodes[machine.order[0][i]].kernel_node) != kNone;
  if (known != nodes) return false;
  for (uint32_t i = 0; i < machine.node_count; ++i) {
    const unsigned node = number_of(machine.nodes[i].kernel_node);
    if (node == kNone) continue;
    uint8_t order[kMaxNodes];
    unsigned length = 0;
    for (uint32_t k = 0; k < machine.order_length; ++k) {
      const unsigned other = number_of(machine.nodes[machine.order[i][k]].kernel_node);
      if (other != kNone && length < nodes) order[length++] = static_cast<uint8_t>(other);
    }
    if (length == nodes) set_fallback_order(node, order);
  }
  return true;
}

}  // namespace pm
