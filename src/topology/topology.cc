#include "topology/topology.h"

#include <hwloc.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"

#define PM_MODULE extern "C" __attribute__((visibility("default")))

namespace pm {
namespace {

// The machine as hwloc sees it, for as long as it lives.
class Machine {
 public:
  Machine() {
    if (hwloc_topology_init(&topology_) != 0) return;
    initialised_ = true;
    // Looking must not move the thread that looks from CPU to CPU.
    hwloc_topology_set_flags(topology_, HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING);
    loaded_ = hwloc_topology_load(topology_) == 0;
  }
  ~Machine() {
    if (initialised_) hwloc_topology_destroy(topology_);
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  bool loaded() const { return loaded_; }
  hwloc_topology_t get() const { return topology_; }

 private:
  hwloc_topology_t topology_ = nullptr;
  bool initialised_ = false;
  bool loaded_ = false;
};

uint32_t copy_cpus(hwloc_const_cpuset_t set, uint64_t (&words)[kTopologyCpuWords]) {
  uint32_t count = 0;
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu)) {
    ++count;
    if (static_cast<unsigned>(cpu) < 64 * kTopologyCpuWords) words[cpu / 64] |= uint64_t{1} << (cpu % 64);
  }
  return count;
}

void read_nodes(hwloc_topology_t machine, Topology& out) {
  const int count = hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_NUMANODE);
  for (int i = 0; i < count; ++i) {
    if (out.node_count == kTopologyNodes) {
      ++out.left_out;
      continue;
    }
    hwloc_obj_t const object = hwloc_get_obj_by_type(machine, HWLOC_OBJ_NUMANODE, static_cast<unsigned>(i));
    TopologyNode& node = out.nodes[out.node_count++];
    node.kernel_node = object->os_index;
    node.memory_bytes = object->attr->numanode.local_memory;
    node.cpus = copy_cpus(object->cpuset, node.cpu_set);
  }
}

// Several nodes may be near to the same CPUs (high-bandwidth memory beside ordinary memory): these belong to the first,
// as the kernel has it, and the others have none.
void share_out_cpus(Topology& out) {
  uint64_t taken[kTopologyCpuWords] = {};
  for (uint32_t n = 0; n < out.node_count; ++n) {
    TopologyNode& node = out.nodes[n];
    bool own = false;
    for (unsigned w = 0; w < kTopologyCpuWords; ++w) own = own || (node.cpu_set[w] & ~taken[w]) != 0;
    if (!own) {
      node.cpus = 0;
      memset(node.cpu_set, 0, sizeof node.cpu_set);
    }
    for (unsigned w = 0; w < kTopologyCpuWords; ++w) taken[w] |= node.cpu_set[w];
  }
}

int place_of(const Topology& out, unsigned kernel_node) {
  for (uint32_t n = 0; n < out.node_count; ++n) {
    if (out.nodes[n].kernel_node == kernel_node) return static_cast<int>(n);
  }
  return -1;
}

void read_distances(hwloc_topology_t machine, Topology& out) {
  unsigned matrices = 1;
  hwloc_distances_s* matrix = nullptr;
  if (hwloc_distances_get_by_type(machine, HWLOC_OBJ_NUMANODE, &matrices, &matrix, HWLOC_DISTANCES_KIND_MEANS_LATENCY,
                                  0) != 0 ||
      matrices == 0) {
    return;
  }
  for (unsigned i = 0; i < matrix->nbobjs; ++i) {
    for (unsigned k = 0; k < matrix->nbobjs; ++k) {
      const int from = matrix->objs[i] != nullptr ? place_of(out, matrix->objs[i]->os_index) : -1;
      const int to = matrix->objs[k] != nullptr ? place_of(out, matrix->objs[k]->os_index) : -1;
      const hwloc_uint64_t value = matrix->values[i * matrix->nbobjs + k];
      if (from >= 0 && to >= 0) out.distance[from][to] = static_cast<uint16_t>(value < 65535 ? value : 65535);
    }
  }
  hwloc_distances_release(machine, matrix);
}

// What CPUs of `from` read from `to` a second, as the firmware says (HMAT); 0 if it does not.
uint64_t bandwidth(hwloc_topology_t machine, const TopologyNode& from, const TopologyNode& to) {
  hwloc_obj_t const source = hwloc_get_numanode_obj_by_os_index(machine, from.kernel_node);
  hwloc_obj_t const target = hwloc_get_numanode_obj_by_os_index(machine, to.kernel_node);
  if (source == nullptr || target == nullptr) return 0;
  hwloc_location place = {};
  place.type = HWLOC_LOCATION_TYPE_CPUSET;
  place.location.cpuset = source->cpuset;
  hwloc_uint64_t value = 0;
  return hwloc_memattr_get_value(machine, HWLOC_MEMATTR_ID_BANDWIDTH, target, &place, 0, &value) == 0 ? value : 0;
}

// Whether `a` helps `node` before `b` does.
bool helps_before(hwloc_topology_t machine, const Topology& out, uint32_t node, uint32_t a, uint32_t b) {
  if (a == node || b == node) return a == node;
  const TopologyNode& first = out.nodes[a];
  const TopologyNode& second = out.nodes[b];
  if ((first.cpus == 0) != (second.cpus == 0)) return first.cpus != 0;
  if (out.distance[node][a] != out.distance[node][b]) return out.distance[node][a] < out.distance[node][b];
  const uint64_t fast = bandwidth(machine, out.nodes[node], first);
  const uint64_t slow = bandwidth(machine, out.nodes[node], second);
  return fast != slow ? fast > slow : a < b;
}

void find_order(hwloc_topology_t machine, Topology& out) {
  for (uint32_t node = 0; node < out.node_count; ++node) {
    uint32_t length = 0;
    for (uint32_t other = 0; other < out.node_count; ++other) {
      if (out.nodes[other].memory_bytes == 0) continue;
      uint32_t at = length++;
      for (; at > 0 && helps_before(machine, out, node, other, out.order[node][at - 1]); --at) {
        out.order[node][at] = out.order[node][at - 1];
      }
      out.order[node][at] = static_cast<uint8_t>(other);
    }
    out.order_length = length;
  }
}

// The outermost cache of each CPU, where more than one has it.
void read_caches(hwloc_topology_t machine, Topology& out) {
  hwloc_obj_t last = nullptr;
  for (hwloc_obj_t cpu = nullptr; (cpu = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_PU, cpu)) != nullptr;) {
    hwloc_obj_t outermost = nullptr;
    for (hwloc_obj_t above = cpu; above != nullptr; above = above->parent) {
      if (hwloc_obj_type_is_dcache(above->type) != 0) outermost = above;
    }
    if (outermost == nullptr || outermost == last) continue;
    last = outermost;
    if (out.cache_count == kTopologyCaches) {
      ++out.left_out;
      continue;
    }
    TopologyCache& cache = out.caches[out.cache_count];
    cache.level = outermost->attr->cache.depth;
    cache.bytes = outermost->attr->cache.size;
    cache.cpus = copy_cpus(outermost->cpuset, cache.cpu_set);
    if (cache.cpus > 1) {
      ++out.cache_count;
    } else {
      cache = {};
    }
  }
}

void draw(hwloc_obj_t object, unsigned depth, TextWriter& out) {
  char text[256];
  for (unsigned i = 0; i < depth; ++i) out.text("  ");
  hwloc_obj_type_snprintf(text, sizeof text, object, 0);
  out.text(text);
  if (object->os_index != HWLOC_UNKNOWN_INDEX && object->type != HWLOC_OBJ_MACHINE) {
    out.text(" P#").number(object->os_index);
  }
  if (object->type == HWLOC_OBJ_NUMANODE) {
    out.text(" (").number(object->attr->numanode.local_memory >> 20).text(" MiB)");
  } else if (hwloc_obj_type_is_dcache(object->type) != 0) {
    out.text(" (").number(object->attr->cache.size >> 10).text(" KiB)");
  }
  out.character('\n');
  for (hwloc_obj_t child = object->memory_first_child; child != nullptr; child = child->next_sibling) {
    draw(child, depth + 1, out);
  }
  for (hwloc_obj_t child = object->first_child; child != nullptr; child = child->next_sibling) {
    draw(child, depth + 1, out);
  }
}

}  // namespace
}  // namespace pm

PM_MODULE int pm_topology_read(pm::Topology* out) {
  using namespace pm;
  if (out->bytes != sizeof *out) return EINVAL;
  memset(out, 0, sizeof *out);
  out->bytes = sizeof *out;
  const Machine machine;
  if (!machine.loaded()) return ENODATA;
  out->described = hwloc_topology_is_thissystem(machine.get()) == 0 ? 1 : 0;
  read_nodes(machine.get(), *out);
  share_out_cpus(*out);
  read_distances(machine.get(), *out);
  find_order(machine.get(), *out);
  read_caches(machine.get(), *out);
  return out->node_count == 0 ? ENODATA : 0;
}

PM_MODULE int pm_topology_draw(pm::TopologyWriter write, void* context) {
  using namespace pm;
  const Machine machine;
  if (!machine.loaded()) return ENODATA;
  char buffer[512];
  TextWriter out(buffer, write, context);
  draw(hwloc_get_root_obj(machine.get()), 0, out);
  out.flush();
  return 0;
}
