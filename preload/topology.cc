#include "preload/topology.h"

#include <dlfcn.h>

#include "base/compiler.h"
#include "base/text.h"
#include "runtime/node_order.h"
#include "topology/topology.h"

namespace pm {
namespace {

constexpr char kModule[] = "libpoolmalloc-topology.so";
constexpr char kReader[] = "pm_topology_read";

Topology machine;  // written by the one thread that loads

// The module's path: this library's, up to its last slash, and the module's name. False if that is too long.
bool find_module(char* path, size_t size) {
  Dl_info self;
  if (dladdr(reinterpret_cast<const void*>(&load_topology_if_due), &self) == 0 || self.dli_fname == nullptr) {
    return false;
  }
  size_t folder = 0;
  for (size_t i = 0; self.dli_fname[i] != 0; ++i) {
    if (self.dli_fname[i] == '/') folder = i + 1;
  }
  TextWriter out(path, size);
  out.text(self.dli_fname, folder).text(kModule);
  out.c_str();
  return folder != 0 && out.total() < size;
}

PM_COLD void load_topology() {
  char path[4096];
  if (!find_module(path, sizeof path)) return;
  void* const module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) return;
  machine.bytes = sizeof machine;
  const auto read = reinterpret_cast<TopologyReader>(dlsym(module, kReader));
  if (read != nullptr && read(&machine) == 0) use_node_order(machine);
  dlclose(module);
}

}  // namespace

PM_START void load_topology_if_due() {
  if (node_order_is_due()) load_topology();
}

}  // namespace pm
