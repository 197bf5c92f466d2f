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

// What the administrator allows of transparent huge pages of 2 MiB.
enum class HugePolicy : uint8_t { never, on_advice, always };

enum class Collapse : uint8_t {
  done,
  refused,     // not now: no huge page to be had, or pages that cannot move
  unsuitable,  // never like this: an old kernel, a mapping that ends inside, or advice against it
};

// A set of memory nodes, by the kernel's numbers.
struct NodeMask {
  static constexpr unsigned kNodes = 1024;  // no kernel is built for more
  uint64_t words[kNodes / 64];

  void add(unsigned node) { words[node / 64] |= uint64_t{1} << (node % 64); }
  bool has(unsigned node) const { return node < kNodes && (words[node / 64] >> (node % 64) & 1) != 0; }
};

// Where fresh pages come from: the one node if it has room, or all in turn, page by page.
enum class NodePolicy : uint8_t { preferred, interleave };

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
  // Asks for small pages in the range, now and later: neither a fault nor khugepaged makes huge ones of it.
  bool (*advise_small)(uintptr_t start, size_t bytes);
  // Puts the pages of the range, whole huge blocks, on huge pages at once (MADV_COLLAPSE, Linux 6.1). The content
  // stays, what was absent becomes resident, and no mapping is split.
  Collapse (*collapse)(uintptr_t start, size_t bytes);
  // Puts pages of hugetlbfs, each of `page_bytes`, into a reserved range; they are there when this returns true. On
  // false the range is reserved as before.
  bool (*map_hugetlb)(uintptr_t start, size_t bytes, size_t page_bytes);
  // Puts fresh ordinary pages in place of what is mapped in the range.
  bool (*replace)(uintptr_t start, size_t bytes);
  // resident_bytes() below, huge_policy() and so on: facts that policy hangs on, here so that tests can state them.
  size_t (*resident)(uintptr_t start, size_t bytes);
  HugePolicy (*huge_policy)();
  uint64_t (*max_map_count)();
  uint64_t (*count_mappings)();
  // Says where the pages of the range shall come from when they are touched.
  bool (*bind)(uintptr_t start, size_t bytes, NodePolicy policy, const NodeMask& nodes);
};

const MemoryFunctions& memory();
// Tests only; not thread-safe. nullptr restores the kernel's.
void set_memory_functions(const MemoryFunctions* functions);

// Bytes of [start, start+bytes) that are resident, by mincore(2); unmapped and reserved parts count nothing.
size_t resident_bytes(uintptr_t start, size_t bytes);
// The mode of transparent huge pages of 2 MiB, by /sys; `never` where there are none.
HugePolicy huge_policy();
// Parts of [start, start+bytes) that lie on huge pages, transparent or of hugetlbfs, told by use(context, from, bytes)
// in the order of addresses. By the PAGEMAP_SCAN ioctl (Linux 6.7), 0.6 ms for a gibibyte of small pages where
// smaps takes 10; false, with nothing told, where that is missing.
bool find_huge_pages(uintptr_t start, size_t bytes, void (*use)(void* context, uintptr_t from, size_t bytes),
                     void* context);
// Whether anything at all is mapped in the range.
bool is_mapped(uintptr_t start, size_t bytes);

}  // namespace pm::os
