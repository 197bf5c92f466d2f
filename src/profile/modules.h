// The objects (program, libraries) whose code is on a profile's stacks, noted while they are loaded: a library that is
// gone when the profile is written keeps its range and build id. Guarded by the profile's lock.
#pragma once

#include <cstdint>

#include "os/objects.h"
#include "page/table.h"

namespace pm {

struct Module {
  os::ObjectCode code;
  char path[216];
};

class ModuleTable {
 public:
  static constexpr unsigned kMost = 512;

  bool reserve() { return modules_.reserve(kMost) && modules_.commit(0, kMost); }
  // Whether the code at the address is known; then nothing more is to be done.
  bool knows(const Module& module) const;
  // Keeps it, if there is room.
  void add(const Module& module);
  unsigned count() const { return count_; }
  const Module& operator[](unsigned i) const { return modules_[i]; }

 private:
  unsigned count_ = 0;
  Table<Module> modules_;
};

// What is known of the object that covers an address on the caller's stack. False if none does, or its headers are not
// in memory.
bool describe_module(uintptr_t address, Module& out);

}  // namespace pm
