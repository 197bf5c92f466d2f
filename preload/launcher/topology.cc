#include "preload/launcher/topology.h"

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "preload/launcher/output_file.h"
#include "topology/topology.h"

namespace pm {

#if POOLMALLOC_HWLOC

namespace {

std::string list_of_cpus(const uint64_t (&set)[kTopologyCpuWords]) {
  const auto has = [&set](unsigned cpu) {
    return cpu < 64 * kTopologyCpuWords && (set[cpu / 64] >> (cpu % 64) & 1) != 0;
  };
  std::string list;
  for (unsigned cpu = 0; cpu < 64 * kTopologyCpuWords; ++cpu) {
    if (!has(cpu)) continue;
    const unsigned first = cpu;
    while (has(cpu + 1)) ++cpu;
    list += (list.empty() ? "" : ",") + std::to_string(first);
    if (cpu != first) list += "-" + std::to_string(cpu);
  }
  return list;
}

std::string mebibytes(uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

// Nodes that have memory to give.
uint32_t useful_nodes(const Topology& machine) { return machine.order_length; }

std::string plan_of(const Topology& machine) {
  if (useful_nodes(machine) < 2) return "One memory node: the heap is one, and nothing is bound.\n";
  return "The heap gives each of the " + std::to_string(useful_nodes(machine)) +
         " nodes with memory a part of its own once it has grown to 32 MiB, binds fresh\nmemory to its node, and "
         "serves a "
         "thread from the node of its CPU. What a full node lacks, the next in its order gives.\n";
}

void print_nodes(const Topology& machine) {
  for (uint32_t n = 0; n < machine.node_count; ++n) {
    const TopologyNode& node = machine.nodes[n];
    std::printf("node %u: %s, ", node.kernel_node, mebibytes(node.memory_bytes).c_str());
    if (node.cpus == 0) {
      std::printf("no CPUs: used when the others have no memory left\n");
    } else {
      std::printf("%u CPUs (%s)\n", node.cpus, list_of_cpus(node.cpu_set).c_str());
    }
  }
}

void print_distances(const Topology& machine) {
  std::printf("\ndistances, and the order in which nodes help out\n      ");
  for (uint32_t n = 0; n < machine.node_count; ++n) std::printf("%6u", machine.nodes[n].kernel_node);
  std::printf("\n");
  for (uint32_t n = 0; n < machine.node_count; ++n) {
    std::printf("%6u", machine.nodes[n].kernel_node);
    for (uint32_t other = 0; other < machine.node_count; ++other) {
      if (machine.distance[n][other] != 0) {
        std::printf("%6u", machine.distance[n][other]);
      } else {
        std::printf("%6s", "-");
      }
    }
    std::printf("   ");
    for (uint32_t i = 0; i < machine.order_length; ++i)
      std::printf(" %u", machine.nodes[machine.order[n][i]].kernel_node);
    std::printf("\n");
  }
}

void print_caches(const Topology& machine) {
  for (uint32_t i = 0; i < machine.cache_count; ++i) {
    const TopologyCache& cache = machine.caches[i];
    std::printf("L%u cache: %llu KiB shared by CPUs %s\n", cache.level,
                static_cast<unsigned long long>(cache.bytes >> 10), list_of_cpus(cache.cpu_set).c_str());
  }
}

void print_json(const Topology& machine) {
  std::printf("{\"nodes\":[");
  for (uint32_t n = 0; n < machine.node_count; ++n) {
    const TopologyNode& node = machine.nodes[n];
    std::printf("%s{\"node\":%u,\"memory_bytes\":%llu,\"cpus\":\"%s\",\"distances\":[", n == 0 ? "" : ",",
                node.kernel_node, static_cast<unsigned long long>(node.memory_bytes),
                list_of_cpus(node.cpu_set).c_str());
    for (uint32_t other = 0; other < machine.node_count; ++other) {
      std::printf("%s%u", other == 0 ? "" : ",", machine.distance[n][other]);
    }
    std::printf("],\"order\":[");
    for (uint32_t i = 0; i < machine.order_length; ++i) {
      std::printf("%s%u", i == 0 ? "" : ",", machine.nodes[machine.order[n][i]].kernel_node);
    }
    std::printf("]}");
  }
  std::printf("],\"caches\":[");
  for (uint32_t i = 0; i < machine.cache_count; ++i) {
    const TopologyCache& cache = machine.caches[i];
    std::printf("%s{\"level\":%u,\"bytes\":%llu,\"cpus\":\"%s\"}", i == 0 ? "" : ",", cache.level,
                static_cast<unsigned long long>(cache.bytes), list_of_cpus(cache.cpu_set).c_str());
  }
  std::printf("],\"heap_nodes\":%u}\n", useful_nodes(machine) < 2 ? 1 : useful_nodes(machine));
}

// The NAME=value of a variable of hwloc's that describes a machine, or nothing.
std::string description_asked_for() {
  for (char** variable = environ; *variable != nullptr; ++variable) {
    for (const std::string name : {"HWLOC_SYNTHETIC=", "HWLOC_XMLFILE="}) {
      const std::string text = *variable;
      if (text.compare(0, name.size(), name) == 0 && text.size() > name.size()) return text;
    }
  }
  return {};
}

void write_to_stdout(void*, const char* data, size_t size) { std::fwrite(data, 1, size, stdout); }

}  // namespace

int print_topology(bool as_json) {
  const auto machine = std::make_unique<Topology>();
  machine->bytes = sizeof *machine;
  const int error = pm_topology_read(machine.get());
  if (error != 0) {
    std::fprintf(stderr, "poolmalloc: hwloc cannot read this machine: %s\n", std::strerror(error));
    return 1;
  }
  // hwloc passes over a description that it cannot read.
  const std::string description = description_asked_for();
  if (!description.empty() && machine->described == 0) {
    std::fprintf(stderr, "poolmalloc: hwloc cannot read %s\n", description.c_str());
    return 1;
  }
  if (as_json) {
    print_json(*machine);
  } else {
    print_nodes(*machine);
    if (machine->node_count > 1) print_distances(*machine);
    print_caches(*machine);
    std::printf("\n%s\n", plan_of(*machine).c_str());
    pm_topology_draw(write_to_stdout, nullptr);
  }
  return print_output({});
}

#else

int print_topology(bool) {
  std::fprintf(stderr, "poolmalloc: this command was built without hwloc\n");
  return 2;
}

#endif

}  // namespace pm
