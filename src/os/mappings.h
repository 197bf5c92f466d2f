// What is mapped in this process, read from /proc/self/maps with raw system calls. Never allocates. Other threads map
// and unmap meanwhile: an answer is what was there when its line was read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm::os {

// One line of the file.
struct MappingLine {
  uintptr_t start;
  uintptr_t end;
  uint64_t file_offset;
  bool writable;
  bool executable;
  const char* path;  // as in the file, or such as "[stack]"; "" for anonymous memory
};

// Calls use(context, line) for every mapping, in the order of addresses. Takes nine KiB of stack.
void each_mapping(void (*use)(void* context, const MappingLine& mapping), void* context);

// What is mapped at an address. `name` gets the file's basename, or "[heap]", "[stack]", or "" for anonymous memory.
// False if nothing is mapped there.
struct Mapping {
  uintptr_t start;
  uintptr_t end;
  bool writable;
  bool executable;
  char name[128];
};
bool find_mapping(uintptr_t address, Mapping& out);

// How many mappings there are now.
uint64_t count_mappings();

}  // namespace pm::os
