#include "topology/topology.h"

#include <hwloc.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

Topology machine;

int read(const char* variable, const char* value) {
  setenv(variable, value, 1);
  machine.bytes = sizeof machine;
  return pm_topology_read(&machine);
}

TEST_CASE("this machine has a node with memory and CPUs") {
  in_fresh_process([] {
    machine.bytes = sizeof machine;
    EXPECT(pm_topology_read(&machine) == 0);
    EXPECT(machine.node_count >= 1 && machine.order_length >= 1 && machine.described == 0);
    EXPECT(machine.nodes[0].memory_bytes > 0 && machine.nodes[0].cpus > 0);
    EXPECT(machine.order[0][0] == 0);
  });
}

TEST_CASE("a struct of another version is refused") {
  in_fresh_process([] {
    machine.bytes = sizeof machine - 1;
    EXPECT(pm_topology_read(&machine) == EINVAL);
  });
}

TEST_CASE("two packages, a node each") {
  in_fresh_process([] {
    EXPECT(read("HWLOC_SYNTHETIC", "pack:2 [numa(memory=4GB)] l3:1(size=8MB) core:2 pu:2") == 0);
    EXPECT(machine.described == 1 && machine.node_count == 2 && machine.order_length == 2);
    for (unsigned n = 0; n < 2; ++n) {
      EXPECT(machine.nodes[n].kernel_node == n && machine.nodes[n].cpus == 4);
      EXPECT(machine.nodes[n].memory_bytes == 4'000'000'000 && machine.nodes[n].cpu_set[0] == 0xFULL << (4 * n));
      EXPECT(machine.order[n][0] == n && machine.order[n][1] == 1 - n);
      EXPECT(machine.caches[n].level == 3 && machine.caches[n].cpus == 4);
    }
    EXPECT(machine.cache_count == 2 && machine.left_out == 0);
  });
}

TEST_CASE("memory that other memory is nearer than has no CPUs and helps last") {
  in_fresh_process([] {
    // Each package has ordinary memory and some beside it, as with high-bandwidth or attached memory.
    EXPECT(read("HWLOC_SYNTHETIC", "pack:2 [numa(memory=4GB)] [numa(memory=1GB)] core:2 pu:1") == 0);
    EXPECT(machine.node_count == 4 && machine.order_length == 4);
    unsigned with_cpus = 0;
    for (unsigned n = 0; n < 4; ++n) with_cpus += machine.nodes[n].cpus != 0;
    EXPECT(with_cpus == 2);
    for (unsigned n = 0; n < 4; ++n) {
      EXPECT(machine.order[n][0] == n);
      if (machine.nodes[n].cpus == 0) continue;
      EXPECT(machine.nodes[machine.order[n][1]].cpus != 0);
      EXPECT(machine.nodes[machine.order[n][2]].cpus == 0 && machine.nodes[machine.order[n][3]].cpus == 0);
    }
  });
}

// Four nodes with these sizes and distances, as a file of hwloc's.
bool write_machine(const char* path) {
  const uint64_t memory[] = {1 << 30, 1 << 30, 0, 1 << 30};
  uint64_t distances[] = {10, 31, 21, 22, 31, 10, 21, 25, 21, 21, 10, 30, 22, 25, 30, 10};
  hwloc_topology_t made;
  if (hwloc_topology_init(&made) != 0) return false;
  bool good = hwloc_topology_set_synthetic(made, "pack:4 [numa] core:1 pu:1") == 0 && hwloc_topology_load(made) == 0;
  hwloc_obj_t nodes[4];
  for (unsigned n = 0; good && n < 4; ++n) {
    nodes[n] = hwloc_get_obj_by_type(made, HWLOC_OBJ_NUMANODE, n);
    nodes[n]->attr->numanode.local_memory = memory[n];
  }
  hwloc_distances_add_handle_t handle =
      good ? hwloc_distances_add_create(made, "NUMALatency",
                                        HWLOC_DISTANCES_KIND_FROM_USER | HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0)
           : nullptr;
  good = handle != nullptr && hwloc_distances_add_values(made, handle, 4, nodes, distances, 0) == 0 &&
         hwloc_distances_add_commit(made, handle, 0) == 0 && hwloc_topology_export_xml(made, path, 0) == 0;
  hwloc_topology_destroy(made);
  return good;
}

TEST_CASE("distances, and a node without memory, from a file") {
  in_fresh_process([] {
    char path[] = "/tmp/topology-XXXXXX";
    const int fd = mkstemp(path);
    EXPECT(fd >= 0);
    close(fd);
    EXPECT(write_machine(path));
    const int error = read("HWLOC_XMLFILE", path);
    unlink(path);
    EXPECT(error == 0 && machine.described == 1 && machine.node_count == 4 && machine.order_length == 3);
    EXPECT(machine.distance[0][1] == 31 && machine.distance[3][1] == 25 && machine.distance[2][2] == 10);
    const unsigned expected[3][3] = {{0, 3, 1}, {1, 3, 0}, {3, 0, 1}};
    const unsigned rows[3] = {0, 1, 3};
    for (unsigned r = 0; r < 3; ++r) {
      for (unsigned i = 0; i < 3; ++i) EXPECT(machine.order[rows[r]][i] == expected[r][i]);
    }
  });
}

TEST_CASE("more nodes than the table has are counted and left out") {
  in_fresh_process([] {
    EXPECT(read("HWLOC_SYNTHETIC", "pack:80 [numa] core:1 pu:1") == 0);
    EXPECT(machine.node_count == kTopologyNodes && machine.left_out == 16);
  });
}

TEST_CASE("the tree has every part on a line") {
  in_fresh_process([] {
    setenv("HWLOC_SYNTHETIC", "pack:2 [numa(memory=1GiB)] core:2 pu:1", 1);
    std::string text;
    EXPECT(pm_topology_draw([](void* context, const char* data,
                               size_t size) { static_cast<std::string*>(context)->append(data, size); },
                            &text) == 0);
    EXPECT(text.rfind("Machine\n  Package P#0\n    NUMANode P#0 (", 0) == 0);
    size_t lines = 0;
    for (const char c : text) lines += c == '\n';
    EXPECT(lines == 1 + 2 + 2 + 4 + 4);
  });
}

}  // namespace
