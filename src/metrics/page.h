// The statistics page: what a process publishes of itself in a small memory file, for the poolmalloc command and for
// whoever else of the same user wants to know, without a call into the process and without stopping it.
//
// Where it is. The worker makes the file (memfd_create, named kPageName) when it starts and holds it open in its own
// table of files, so it is to be found as /proc/PID/task/TID/fd/N, TID being the thread named "poolmalloc". The kernel
// lets the same user and root open it. It is sealed: its length is fixed, and nobody else can map it for writing. With
// the process it goes, however that ends; a forked child does not map it and publishes a page of its own.
//
// What is in it. A head that is written once, then a body that the worker writes anew with each of its rounds: ten
// times a second under pressure, twice while the process works, ever more rarely, down to every ten seconds, while it
// is idle. The sequence is odd while that happens (a sequence lock), which takes some microseconds.
//
// Who may read it. Whoever finds its own kPageLayout and page_fingerprint() in the head: the body is plain data whose
// rows and order change with the version. `magic`, `layout`, `bytes`, `fingerprint` and `version` stay where they are
// in every version.
//
// One thread writes, any number read, in other processes too. All words of the body are relaxed atomics to both.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "metrics/events.h"
#include "metrics/metrics.h"

namespace pm {

inline constexpr char kPageName[] = "poolmalloc-statistics";
inline constexpr char kWorkerName[] = "poolmalloc";         // of the thread that holds it
inline constexpr uint64_t kPageMagic = 0x316c6f6f706d6770;  // "pgmpool1"
inline constexpr uint32_t kPageLayout = 1;
inline constexpr size_t kMaxCpuRows = 256;
inline constexpr size_t kMaxNodeRows = 16;
inline constexpr size_t kOptionsText = 2048;
inline constexpr size_t kMaxSiteRows = 16;
inline constexpr size_t kSiteFrames = 12;
inline constexpr size_t kMaxRequestRows = 64;
inline constexpr size_t kLargestRequest = 32 * 1024;

// The magazines of one CPU.
struct CpuRow {
  uint32_t cpu;     // or the kernel's concurrency id, where magazines go by that; of a locked block its number
  uint32_t locked;  // 1: a block of the locked mode
  uint64_t objects, bytes, capacity_bytes;
  uint64_t hits, misses;
};

// The heap's part on one memory node.
struct NodeRow {
  uint32_t node;         // as the heap numbers them
  uint32_t kernel_node;  // as the kernel does
  uint64_t mapped_bytes, slab_bytes, large_bytes, dirty_bytes, clean_bytes;
};

// A call site of the heap profile that is being taken: one of those whose objects hold most, the first of all.
struct SiteRow {
  uint64_t site;                // stays the same while the process lives
  uint64_t bytes;               // in use, as the samples say
  uint64_t size;                // of one object, of large ones the mean
  uint64_t samples;             // of objects in use
  uint64_t frames;              // in `stack`, which may go on; 0 where none could be taken
  uint64_t stack[kSiteFrames];  // return addresses, the innermost first
};

// Objects in use of which programs asked for `size` bytes, rounded up to 16, as far as a class of that very size, at
// most kLargestRequest, would take less memory: those that waste most, by the samples of that profile.
struct RequestRow {
  uint32_t size;
  uint32_t samples;
  uint32_t room;        // what an object of the size takes of its slab, its share of the rest behind the last included
  uint32_t class_size;  // of the class that they are in
  uint32_t class_room;
  uint32_t unused;
};

struct PageStamp {
  uint64_t written_ns;       // CLOCK_MONOTONIC
  uint64_t written_unix_ns;  // CLOCK_REALTIME
  uint64_t next_ns;          // when the next round is due, unless something happens before: CLOCK_MONOTONIC
  uint64_t writes;
  uint64_t collect_ns;  // what gathering the last body took, in time of the clock
  uint32_t cpu_rows, node_rows, events;
  uint32_t cpu_rows_left_out;
  uint32_t site_rows, request_rows;
  uint64_t heap_begin, heap_end;  // the range of addresses that the heap lies in, with gaps
};

struct PageBody {
  PageStamp stamp;
  // The options that differ from their defaults, a line "name=value" each; cut at a line's end if there are too many.
  char options[kOptionsText];
  NodeRow nodes[kMaxNodeRows];  // the first stamp.node_rows
  CpuRow cpus[kMaxCpuRows];     // the first stamp.cpu_rows
  Event events[kMaxEvents];     // the first stamp.events, the oldest first
  // Of a profile that is being taken; gathered less often than the rest when it is large.
  SiteRow sites[kMaxSiteRows];           // the first stamp.site_rows
  RequestRow requests[kMaxRequestRows];  // the first stamp.request_rows
  // What is dear to gather in a large heap (the group Huge pages, metadata_bytes) is gathered less often than the rest.
  Snapshot snapshot;
};
static_assert(sizeof(PageStamp) % 8 == 0 && sizeof(NodeRow) % 8 == 0 && sizeof(CpuRow) % 8 == 0);
static_assert(sizeof(SiteRow) % 8 == 0 && sizeof(RequestRow) % 8 == 0);
static_assert(sizeof(PageBody) % 8 == 0 && offsetof(Snapshot, classes) % 8 == 0 && sizeof(Snapshot::ClassRow) % 8 == 0);

struct PageHead {
  uint64_t magic;  // kPageMagic, written last
  uint32_t layout;
  uint32_t bytes;  // of the whole page
  uint64_t fingerprint;
  char version[24];  // of the library
  uint32_t process;  // as it sees itself, in its own PID namespace
  uint32_t unused;
  uint64_t published_unix_ns;
};

struct alignas(64) StatisticsPage {
  PageHead head;
  std::atomic<uint32_t> sequence;  // 0: nothing was written yet; odd: a write is under way
  uint32_t unused[15];
  PageBody body;
};
static_assert(offsetof(StatisticsPage, body) == 128);

// A number that differs between versions whose bodies do.
uint64_t page_fingerprint();

// The writer's side. page_store writes the words of one part of the body, `bytes` a multiple of 8 rounded up.
void page_make_head(StatisticsPage& page, const char* version, uint32_t process, uint64_t unix_ns);
void page_begin(StatisticsPage& page);
void page_store(void* to, const void* from, size_t bytes);
void page_end(StatisticsPage& page);

enum class PageCheck : uint8_t { fits, other_version, no_page };
// What `head`, the first bytes of a file of `bytes`, says about it.
PageCheck check_page(const PageHead& head, uint64_t bytes);
// Copies the body, the parts in use; false if nothing was written yet, or if a write is under way and does not end.
bool page_read(const StatisticsPage& page, PageBody& out);

}  // namespace pm
