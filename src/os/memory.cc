#include "os/memory.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "base/compiler.h"
#include "os/mappings.h"
#include "os/process.h"
#include "os/syscall.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace pm::os {
namespace {

void* kernel_reserve(uintptr_t hint, size_t bytes) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (hint != 0 ? MAP_FIXED_NOREPLACE : 0);
  const long result = raw_syscall(SYS_mmap, static_cast<long>(hint), static_cast<long>(bytes), PROT_NONE, flags, -1, 0);
  if (failed(result)) return nullptr;
  // Kernels before 4.17 take MAP_FIXED_NOREPLACE for a mere hint.
  if (hint != 0 && result != static_cast<long>(hint)) {
    raw_syscall(SYS_munmap, result, static_cast<long>(bytes));
    return nullptr;
  }
  return reinterpret_cast<void*>(result);
}

void kernel_release(uintptr_t start, size_t bytes) {
  raw_syscall(SYS_munmap, static_cast<long>(start), static_cast<long>(bytes));
}

bool kernel_commit(uintptr_t start, size_t bytes) {
  return !failed(raw_syscall(SYS_mprotect, static_cast<long>(start), static_cast<long>(bytes), PROT_READ | PROT_WRITE));
}

// One process_madvise on ourselves shoots down every CPU's TLB once for all its ranges, where one madvise each
// interrupts them once a range (0.6 us against 8 us a page with a busy neighbour). PIDFD_SELF_THREAD_GROUP (Linux 6.14)
// needs no file descriptor, which a forked child would inherit and aim at its parent.
constexpr long kOwnProcess = -10001;
constexpr size_t kBatch = 128;
std::atomic<bool> process_madvise_works{true};

// Decommits ranges from the first on; returns how many were done whole.
size_t decommit_batch(const PageRange* ranges, size_t count) {
  iovec vectors[kBatch];
  size_t bytes = 0;
  for (size_t i = 0; i < count; ++i) {
    vectors[i] = {reinterpret_cast<void*>(ranges[i].start), ranges[i].bytes};
    bytes += ranges[i].bytes;
  }
  const long result =
      raw_syscall(SYS_process_madvise, kOwnProcess, argument(vectors), static_cast<long>(count), MADV_DONTNEED, 0);
  if (failed(result)) return 0;
  if (static_cast<size_t>(result) == bytes) return count;
  size_t done = 0;
  for (size_t covered = 0; covered + ranges[done].bytes <= static_cast<size_t>(result);)
    covered += ranges[done++].bytes;
  return done;
}

size_t kernel_decommit(const PageRange* ranges, size_t count) {
  size_t given = 0;
  for (size_t first = 0; first < count;) {
    const size_t batch = count - first < kBatch ? count - first : kBatch;
    size_t done = 0;
    // Relaxed: a thread that sees the old value merely makes one call more.
    if (batch > 1 && process_madvise_works.load(std::memory_order_relaxed)) {
      done = decommit_batch(ranges + first, batch);
      for (size_t i = 0; i < done; ++i) given += ranges[first + i].bytes;
      if (done < batch) process_madvise_works.store(false, std::memory_order_relaxed);
    }
    for (; done < batch; ++done) {
      const PageRange& range = ranges[first + done];
      const long result =
          raw_syscall(SYS_madvise, static_cast<long>(range.start), static_cast<long>(range.bytes), MADV_DONTNEED);
      if (!failed(result)) given += range.bytes;
    }
    first += batch;
  }
  return given;
}

bool kernel_advise_huge(uintptr_t start, size_t bytes) {
  return !failed(raw_syscall(SYS_madvise, static_cast<long>(start), static_cast<long>(bytes), MADV_HUGEPAGE));
}

bool kernel_populate(uintptr_t start, size_t bytes) {
  return !failed(raw_syscall(SYS_madvise, static_cast<long>(start), static_cast<long>(bytes), MADV_POPULATE_WRITE));
}

bool kernel_move_pages(uintptr_t from, uintptr_t to, size_t bytes) {
  // DONTUNMAP (5.7) leaves the source mapped and empty, so that no hole opens in the region.
  const long result =
      raw_syscall(SYS_mremap, static_cast<long>(from), static_cast<long>(bytes), static_cast<long>(bytes),
                  MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, static_cast<long>(to));
  return !failed(result);
}

bool kernel_advise_small(uintptr_t start, size_t bytes) {
  return !failed(raw_syscall(SYS_madvise, static_cast<long>(start), static_cast<long>(bytes), MADV_NOHUGEPAGE));
}

Collapse kernel_collapse(uintptr_t start, size_t bytes) {
  const long result = raw_syscall(SYS_madvise, static_cast<long>(start), static_cast<long>(bytes), MADV_COLLAPSE);
  return !failed(result) ? Collapse::done : result == -EINVAL ? Collapse::unsuitable : Collapse::refused;
}

bool map_at(uintptr_t start, size_t bytes, int protection, int flags) {
  return !failed(raw_syscall(SYS_mmap, static_cast<long>(start), static_cast<long>(bytes), protection,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0));
}

// Without MAP_NORESERVE the pool's pages are set aside by mmap; what a control group or a memory policy denies in spite
// of that comes out when they are touched, here, and not as a SIGBUS later.
bool kernel_map_hugetlb(uintptr_t start, size_t bytes, size_t page_bytes) {
  const int size = static_cast<int>(log2_floor(page_bytes)) << MAP_HUGE_SHIFT;
  if (!map_at(start, bytes, PROT_READ | PROT_WRITE, MAP_HUGETLB | size)) {
    // The kernel may have unmapped the range before it refused.
    map_at(start, bytes, PROT_NONE, MAP_NORESERVE);
    return false;
  }
  if (kernel_populate(start, bytes)) return true;
  map_at(start, bytes, PROT_NONE, MAP_NORESERVE);
  return false;
}

bool kernel_replace(uintptr_t start, size_t bytes) {
  return map_at(start, bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
}

bool kernel_bind(uintptr_t start, size_t bytes, NodePolicy policy, const NodeMask& nodes) {
  const int mode = policy == NodePolicy::interleave ? MPOL_INTERLEAVE : MPOL_PREFERRED;
  // The kernel takes one bit less than it is told.
  return !failed(raw_syscall(SYS_mbind, static_cast<long>(start), static_cast<long>(bytes), mode, argument(nodes.words),
                             NodeMask::kNodes + 1, 0));
}

constexpr MemoryFunctions kKernel = {.reserve = kernel_reserve,
                                     .release = kernel_release,
                                     .commit = kernel_commit,
                                     .decommit = kernel_decommit,
                                     .advise_huge = kernel_advise_huge,
                                     .populate = kernel_populate,
                                     .move_pages = kernel_move_pages,
                                     .advise_small = kernel_advise_small,
                                     .collapse = kernel_collapse,
                                     .map_hugetlb = kernel_map_hugetlb,
                                     .replace = kernel_replace,
                                     .resident = resident_bytes,
                                     .huge_policy = huge_policy,
                                     .max_map_count = max_map_count,
                                     .count_mappings = count_mappings,
                                     .bind = kernel_bind};
const MemoryFunctions* replaced = nullptr;

}  // namespace

const MemoryFunctions& memory() { return replaced == nullptr ? kKernel : *replaced; }
void set_memory_functions(const MemoryFunctions* functions) { replaced = functions; }

HugePolicy huge_policy() {
  // The size of its own has the last word, and as a rule leaves it to the mode for all sizes. Kernels before 6.8 know
  // the latter only. Example: "always [madvise] never".
  char text[64];
  for (const char* path : {"/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled",
                           "/sys/kernel/mm/transparent_hugepage/enabled"}) {
    if (read_small_file(path, text, sizeof text) <= 0) continue;
    if (strstr(text, "[always]") != nullptr) return HugePolicy::always;
    if (strstr(text, "[madvise]") != nullptr) return HugePolicy::on_advice;
    if (strstr(text, "[inherit]") == nullptr) return HugePolicy::never;
  }
  return HugePolicy::never;
}

size_t resident_bytes(uintptr_t start, size_t bytes) {
  const size_t page = page_size();
  unsigned char present[1024];
  size_t resident = 0;
  for (size_t offset = 0; offset < bytes;) {
    const size_t step = bytes - offset < sizeof present * page ? bytes - offset : sizeof present * page;
    const long result =
        raw_syscall(SYS_mincore, static_cast<long>(start + offset), static_cast<long>(step), argument(present));
    if (!failed(result)) {
      for (size_t i = 0; i < divide_up(step, page); ++i) resident += (present[i] & 1U) != 0 ? page : 0;
    }
    offset += step;
  }
  return resident;
}

namespace {

// PAGEMAP_SCAN, newer than the headers that we are built with.
struct ScanRange {
  uint64_t start, end, categories;
};
struct ScanArguments {
  uint64_t size, flags, start, end, walk_end, vector, vector_length, most_pages, inverted, all_of, any_of, wanted;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr uint64_t kIsHuge = uint64_t{1} << 6;

}  // namespace

PM_RARE bool find_huge_pages(uintptr_t start, size_t bytes, void (*use)(void* context, uintptr_t from, size_t bytes),
                             void* context) {
  const long fd = raw_syscall(SYS_openat, AT_FDCWD, argument("/proc/self/pagemap"), O_RDONLY | O_CLOEXEC);
  if (failed(fd)) return false;
  bool works = true;
  const uintptr_t end = start + bytes;
  for (uintptr_t at = start; works && at < end;) {
    ScanRange ranges[64];
    ScanArguments scan = {};
    scan.size = sizeof scan;
    scan.start = at;
    scan.end = end;
    scan.vector = address_of(ranges);
    scan.vector_length = sizeof ranges / sizeof ranges[0];
    scan.all_of = scan.wanted = kIsHuge;
    const long found = raw_syscall(SYS_ioctl, fd, static_cast<long>(kPagemapScan), argument(&scan));
    if (found == -EINTR) continue;
    works = !failed(found) && scan.walk_end > at;
    for (long i = 0; works && i < found; ++i) use(context, ranges[i].start, ranges[i].end - ranges[i].start);
    at = scan.walk_end;
  }
  raw_syscall(SYS_close, fd);
  return works;
}

bool is_mapped(uintptr_t start, size_t bytes) {
  const long result = raw_syscall(SYS_mmap, static_cast<long>(start), static_cast<long>(bytes), PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (!failed(result)) kernel_release(static_cast<uintptr_t>(result), bytes);
  return result == -EEXIST || (!failed(result) && result != static_cast<long>(start));
}

}  // namespace pm::os
