#include "profile/modules.h"

#include <cstring>

namespace pm {
namespace {

bool is_same(const os::ObjectCode& a, const os::ObjectCode& b) {
  return a.start == b.start && a.end == b.end && a.file_offset == b.file_offset &&
         a.build_id_bytes == b.build_id_bytes && memcmp(a.build_id, b.build_id, a.build_id_bytes) == 0;
}

}  // namespace

bool ModuleTable::knows(const Module& module) const {
  for (unsigned i = count_; i-- > 0;) {
    if (is_same(modules_[i].code, module.code)) return true;
  }
  return false;
}

void ModuleTable::add(const Module& module) {
  if (count_ < kMost && !knows(module)) modules_[count_++] = module;
}

bool describe_module(uintptr_t address, Module& out) {
  os::ObjectRange object;
  if (!os::find_object(address, object) || !os::describe_code(object, address, out.code)) return false;
  size_t i = 0;
  for (; i < sizeof out.path - 1 && object.name[i] != 0; ++i) out.path[i] = object.name[i];
  out.path[i] = 0;
  return true;
}

}  // namespace pm
