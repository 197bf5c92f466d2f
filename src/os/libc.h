// The C library's own allocator, under ours: for memory that it gave out itself, and for processes that poolmalloc
// leaves alone. Found by reading the C library's symbol table, because its names resolve to us and dlsym may allocate.
// Under a sanitizer, that runtime's allocator is meant instead.
#pragma once

#include <cstddef>

namespace pm::os {

struct LibcAllocator {
  void* (*malloc)(size_t);
  void (*free)(void*);
  void* (*calloc)(size_t, size_t);
  void* (*realloc)(void*, size_t);
  void* (*memalign)(size_t, size_t);
  size_t (*malloc_usable_size)(void*);
};

// Never null, but its functions are if the C library cannot be found. Thread-safe; looks only once.
const LibcAllocator& libc_allocator();

// A function of the C library by name, or nullptr. `inside` is any address in the object to search.
void* find_symbol(const void* inside, const char* name);

// Valgrind runs this process, or a sanitizer's runtime is linked or preloaded. `name` gets which.
bool is_instrumented(const char** name);

}  // namespace pm::os
