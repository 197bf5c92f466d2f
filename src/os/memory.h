// Address space and pages: the only place that asks the kernel for memory.
//
//   reserved   address space held, nothing behind it (PROT_NONE; not accounted, not dumped)
//   committed  ours to touch; pages appear at the first touch
//   resident   pages that exist
//
// Every call goes through `memory_functions()`, so that tests can count, refuse and fake them. All return false or
// nullptr on refusal and never touch errno. Thread-safe; no locks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm::os {

struct PageRange {
  uintptr_t start;
  size_t bytes;
};

struct MemoryFunctions {
  // Reserves `bytes` at exactly `hint` (nothing there may be replaced), or anywhere if hint is 0. nullptr if refused.
  void* (*reserve)(uintptr_t hint, size_t bytes);
  // Undoes a reservation.
  void (*release)(uintptr_t start, size_t bytes);
  // Makes reserved pages ours to touch. They read as zero.
  bool (*commit)(uintptr_t start, size_t bytes);
  // Gives the pages of all ranges back; they stay committed and read as zero at the next touch. Returns the bytes
  // given.
  size_t (*decommit)(const PageRange* ranges, size_t count);
  // Asks for 2 MiB pages in the range.
  bool (*advise_huge)(uintptr_t start, size_t bytes);
  // Touches every page of the range; false if the kernel cannot (before 5.14) or has no memory.
  bool (*populate)(uintptr_t start, size_t bytes);
  // Moves the pages of [from, from+bytes) to `to`, which is committed, aligned and untouched; `from` reads as zero
  // then.
  bool (*move_pages)(uintptr_t from, uintptr_t to, size_t bytes);
};

const MemoryFunctions& memory();
// Tests only; not thread-safe. nullptr restores the kernel's.
void set_memory_functions(const MemoryFunctions* functions);

// Bytes of [start, start+bytes) that are resident, by mincore(2); unmapped and reserved parts count nothing.
size_t resident_bytes(uintptr_t start, size_t bytes);
// Whether anything at all is mapped in the range.
bool is_mapped(uintptr_t start, size_t bytes);

}  // namespace pm::os
