// The C library's questions about its heap, answered for ours: malloc_trim(3), mallinfo(3), malloc_info(3),
// malloc_stats(3), mallopt(3). Left out, they would silently act on glibc's empty heap.
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>

#include "heap/heap.h"
#include "poolmalloc/poolmalloc.h"
#include "runtime/runtime.h"

#define PM_ABI extern "C" __attribute__((visibility("default"), used))

namespace {

struct mallinfo2 describe() {
  pm::start_heap();
  pm::Snapshot now;
  pm::collect(now);
  struct mallinfo2 info = {};
  info.arena = now.committed_bytes - now.clean_bytes - now.live_large_bytes;
  info.ordblks = now.slabs;
  info.hblks = now.large_objects;
  info.hblkhd = now.live_large_bytes;
  info.smblks = now.magazine_objects + now.depot_objects;
  info.fsmblks = now.magazine_bytes + now.depot_bytes;
  info.uordblks = now.live_bytes;
  info.fordblks = now.slab_free_bytes + now.magazine_bytes + now.depot_bytes + now.dirty_bytes;
  info.keepcost = now.dirty_bytes;
  return info;
}

int clamp(size_t value) { return value > INT32_MAX ? INT32_MAX : static_cast<int>(value); }

}  // namespace

// The pad is what glibc keeps at the top of its heap; ours has no top.
PM_ABI int malloc_trim(size_t) { return pm_trim(SIZE_MAX) > 0 ? 1 : 0; }

PM_ABI struct mallinfo2 mallinfo2(void) { return describe(); }

// The old form has ints; numbers that do not fit are cut to the largest.
PM_ABI struct mallinfo mallinfo(void) {
  const struct mallinfo2 wide = describe();
  struct mallinfo info = {};
  info.arena = clamp(wide.arena);
  info.ordblks = clamp(wide.ordblks);
  info.hblks = clamp(wide.hblks);
  info.hblkhd = clamp(wide.hblkhd);
  info.smblks = clamp(wide.smblks);
  info.fsmblks = clamp(wide.fsmblks);
  info.uordblks = clamp(wide.uordblks);
  info.fordblks = clamp(wide.fordblks);
  info.keepcost = clamp(wide.keepcost);
  return info;
}

// XML as glibc's, one <heap> with a <size> for each class in use.
PM_ABI int malloc_info(int options, FILE* stream) {
  if (options != 0) {
    errno = EINVAL;
    return -1;
  }
  pm::start_heap();
  pm::Snapshot now;
  pm::collect(now);
  fprintf(stream, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n");
  for (unsigned i = 0; i < now.class_count; ++i) {
    const pm::Snapshot::ClassRow& row = now.classes[i];
    if (row.slabs == 0) continue;
    const unsigned long long free_objects = row.slot_capacity - row.live_objects;
    fprintf(stream, "  <size from=\"%u\" to=\"%u\" total=\"%llu\" count=\"%llu\" live=\"%llu\"/>\n",
            i == 0 ? 1 : now.classes[i - 1].size + 1, row.size, free_objects * row.size, free_objects,
            static_cast<unsigned long long>(row.live_objects));
  }
  const struct mallinfo2 info = describe();
  fprintf(
      stream,
      "</sizes>\n<total type=\"fast\" count=\"%zu\" size=\"%zu\"/>\n<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
      "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n<system type=\"current\" size=\"%zu\"/>\n"
      "<aspace type=\"total\" size=\"%llu\"/>\n</heap>\n</malloc>\n",
      info.smblks, info.fsmblks, info.ordblks, info.fordblks, info.hblks, info.hblkhd, info.arena,
      static_cast<unsigned long long>(now.reserved_bytes));
  return ferror(stream) != 0 ? -1 : 0;
}

// glibc's two lines, for whoever reads them by program, then the whole report.
PM_ABI void malloc_stats(void) {
  const struct mallinfo2 info = describe();
  fprintf(stderr, "Total (incl. mmap):\nsystem bytes     = %10zu\nin use bytes     = %10zu\n", info.arena + info.hblkhd,
          info.uordblks);
  fflush(stderr);
  pm_stats_write(STDERR_FILENO, PM_FORMAT_TEXT);
}

// glibc's parameters tune structures that we do not have. Known ones are accepted, for programs that check the result.
PM_ABI int mallopt(int parameter, int) {
  switch (parameter) {
    case M_MXFAST:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX: return 1;
    default: return 0;
  }
}
