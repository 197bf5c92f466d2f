// Memory that other processes can look at: an anonymous file (memfd_create(2)), mapped here for writing.
//
// Raw system calls: a thread without a C library may call all of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/files.h"

namespace pm::os {

struct SharedMemory {
  void* start;  // nullptr: refused
  int fd;       // in the table of the calling thread, closed on exec
};

// `bytes` of zeros under a name that /proc shows. Its length is fixed, and nobody can map it for writing from now on,
// where the kernel has such seals (a fixed length everywhere, Linux 5.1 for the other). A forked child does not have
// the mapping.
SharedMemory make_shared_memory(const char* name, size_t bytes);
void drop_shared_memory(SharedMemory memory, size_t bytes);

// Nanoseconds since 1970.
uint64_t unix_ns();

}  // namespace pm::os
