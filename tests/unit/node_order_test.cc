// The order of nodes from hwloc: runtime/node_order.cc, and the module itself by HWLOC_SYNTHETIC and HWLOC_XMLFILE.
#include "runtime/node_order.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "page/nodes.h"
#include "page/page.h"
#include "tests/fake_nodes.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;
using namespace pm::test;

Topology machine;

void start_nodes(unsigned nodes) {
  fake_machine(nodes);
  EXPECT(nodes_init({NumaMode::automatic, -1}));
  EXPECT(page_init({.reserve_bytes = 16 * kGiB, .dirty_bytes = 64 * kMiB, .huge = HugeMode::never}));
  place_window();
  EXPECT(!node_order_is_due());
  for (int i = 0; i < 20; ++i) EXPECT(allocate_large(4 * kMiB, kGranuleBytes, false) != nullptr);
  EXPECT(node_count() == nodes);
}

// Rows of kernel numbers; each the order of the node of that number.
void describe(unsigned nodes, std::initializer_list<std::initializer_list<unsigned>> orders) {
  machine = {};
  machine.node_count = machine.order_length = nodes;
  unsigned n = 0;
  for (const auto& order : orders) {
    machine.nodes[n].kernel_node = n;
    unsigned i = 0;
    for (const unsigned other : order) machine.order[n][i++] = static_cast<uint8_t>(other);
    ++n;
  }
}

TEST_CASE("the order is asked for once, and put into force") {
  in_fresh_process([] {
    start_nodes(3);
    EXPECT(node_order_is_due() && !node_order_is_due());
    describe(3, {{0, 2, 1}, {1, 2, 0}, {2, 0, 1}});
    EXPECT(use_node_order(machine));
    unsigned of_kernel[3];
    for (unsigned node = 0; node < 3; ++node) of_kernel[kernel_node(node)] = node;
    EXPECT(fallback_node(of_kernel[0], 1) == of_kernel[2] && fallback_node(of_kernel[0], 2) == of_kernel[1]);
    EXPECT(fallback_node(of_kernel[1], 1) == of_kernel[2] && fallback_node(of_kernel[2], 1) == of_kernel[0]);
  });
}

TEST_CASE("a description of another machine changes nothing; nodes beyond ours do not disturb") {
  in_fresh_process([] {
    start_nodes(3);
    unsigned of_kernel[3];
    for (unsigned node = 0; node < 3; ++node) of_kernel[kernel_node(node)] = node;
    EXPECT(fallback_node(of_kernel[0], 1) == of_kernel[1]);
    describe(2, {{0, 1}, {1, 0}});
    EXPECT(!use_node_order(machine) && fallback_node(of_kernel[0], 1) == of_kernel[1]);
    describe(4, {{0, 3, 2, 1}, {1, 3, 0, 2}, {2, 3, 0, 1}, {3, 0, 1, 2}});
    EXPECT(use_node_order(machine));
    EXPECT(fallback_node(of_kernel[0], 1) == of_kernel[2] && fallback_node(of_kernel[0], 2) == of_kernel[1]);
  });
}

TEST_CASE("on one node it is never due") {
  in_fresh_process([] {
    fake_machine(1);
    EXPECT(!node_order_is_due() && !node_order_is_due());
  });
}

}  // namespace
