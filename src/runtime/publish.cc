// Publishing the statistics page (metrics/page.h): the worker's thread alone runs this, after each of its rounds.
//
// The file's descriptor is in the worker's own table of files; where the kernel gives it none (before Linux 5.9) the
// program may close it, and the page is made anew. All state is static: a forked child finds `kept` null and starts
// afresh.
#include <atomic>
#include <cstring>

#include "magazine/magazine.h"
#include "metrics/page.h"
#include "os/process.h"
#include "os/shared_page.h"
#include "os/thread.h"
#include "page/page.h"
#include "page/region.h"
#include "profile/profile.h"
#include "profile/summary.h"
#include "reclaim/worker.h"
#include "runtime/collect.h"
#include "runtime/live_options.h"
#include "runtime/runtime.h"

namespace pm {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMs;
constexpr uint64_t kLeastNs = 20 * kMs;  // between two writes
constexpr uint64_t kRetryNs = 10 * kSecond;
// Walking the heap may take a five-thousandth of the time: the worker as a whole should stay below a thousandth.
constexpr uint64_t kWalkShare = 5000;

struct Publication {
  os::SharedMemory memory;
  os::FileIdentity identity;
  uint64_t refused_ns;
  uint64_t written_ns;
  uint64_t walk_due_ns;
  uint64_t summary_due_ns;
  uint64_t writes;
  uint64_t collect_ns;
  HeapWalk walk;
  ProfileSummary summary;
};

constinit Publication now_published = {};

os::FileIdentity identity_of(int fd) {
  const os::FileFunctions& files = os::files();
  return files.identify(files.context, fd);
}

void withdraw(Publication& p) {
  // A descriptor that has become somebody else's is not ours to close.
  if (p.memory.fd >= 0 && !(identity_of(p.memory.fd) == p.identity)) p.memory.fd = -1;
  os::drop_shared_memory(p.memory, sizeof(StatisticsPage));
  p.memory = {nullptr, -1};
}

StatisticsPage* make_page(Publication& p, uint64_t now) {
  if (p.refused_ns != 0 && now - p.refused_ns < kRetryNs) return nullptr;
  p.memory = os::make_shared_memory(kPageName, sizeof(StatisticsPage));
  p.refused_ns = p.memory.start == nullptr ? now : 0;
  if (p.memory.start == nullptr) return nullptr;
  p.identity = identity_of(p.memory.fd);
  auto* const page = static_cast<StatisticsPage*>(p.memory.start);
  page_make_head(*page, POOLMALLOC_VERSION, static_cast<uint32_t>(os::process_id()), os::unix_ns());
  return page;
}

void store_options(StatisticsPage& page, const Options& now) {
  char text[kOptionsText];
  TextWriter out(text);
  size_t whole = 0;  // up to the end of the last line that fits
  for (size_t i = 0; i < kOptionCount; ++i) {
    if (is_default_option(now, i)) continue;
    out.text(kOptionInfo[i].name).character('=');
    write_option(now, i, out);
    out.character('\n');
    if (out.total() >= sizeof text) break;
    whole = out.total();
  }
  text[whole] = '\0';
  page_store(page.body.options, text, whole + 1);
}

uint32_t store_cpus(StatisticsPage& page, uint32_t& left_out) {
  uint32_t rows = 0;
  for (uint32_t i = 0; i < magazine_block_count(); ++i) {
    MagazineBlockStatistics block;
    if (!magazine_collect_block(i, block)) continue;
    if (rows == kMaxCpuRows) {
      ++left_out;
      continue;
    }
    const CpuRow row = {
        block.cpu, block.locked ? 1U : 0U, block.objects, block.bytes, block.capacity_bytes, block.hits, block.misses};
    page_store(&page.body.cpus[rows++], &row, sizeof row);
  }
  return rows;
}

uint32_t collect_nodes(NodeRow (&rows)[kMaxNodeRows]) {
  const unsigned nodes = node_count();
  uint32_t count = 0;
  for (; count < nodes && count < kMaxNodeRows; ++count) {
    const NodeStatistics n = page_collect_node(count);
    rows[count] = {count,         kernel_node(count), n.mapped_bytes, n.slab_bytes,
                   n.large_bytes, n.dirty_bytes,      n.clean_bytes};
  }
  return count;
}

struct EventSink {
  StatisticsPage& page;
  uint32_t count;
};

uint32_t store_events(StatisticsPage& page) {
  EventSink sink = {page, 0};
  each_event(
      [](void* context, const Event& event) {
        auto& s = *static_cast<EventSink*>(context);
        if (s.count < kMaxEvents) page_store(&s.page.body.events[s.count++], &event, sizeof event);
      },
      &sink);
  return sink.count;
}

// Everything that can wait for a lock is gathered before the sequence turns odd, so that a reader never waits for one.
void write_page(Publication& p, StatisticsPage& page, uint64_t next_ns) {
  const uint64_t start = os::monotonic_ns();
  if (start >= p.walk_due_ns) {
    walk_heap(p.walk);
    p.walk_due_ns = start + (os::monotonic_ns() - start) * kWalkShare;
  }
  const uint64_t walked = os::monotonic_ns();
  if (walked >= p.summary_due_ns || !is_sampling()) {
    profile_summarize(p.summary);
    p.summary_due_ns = walked + (os::monotonic_ns() - walked) * kWalkShare;
  }
  Snapshot snapshot;
  collect(p.walk, snapshot);
  PageStamp stamp = {};
  NodeRow nodes[kMaxNodeRows];
  stamp.node_rows = collect_nodes(nodes);
  Options options;
  options_now(options);
  page_begin(page);
  store_options(page, options);
  page_store(page.body.nodes, nodes, stamp.node_rows * sizeof(NodeRow));
  stamp.cpu_rows = store_cpus(page, stamp.cpu_rows_left_out);
  stamp.events = store_events(page);
  stamp.site_rows = p.summary.site_rows;
  stamp.request_rows = p.summary.request_rows;
  page_store(page.body.sites, p.summary.sites, stamp.site_rows * sizeof(SiteRow));
  page_store(page.body.requests, p.summary.requests, stamp.request_rows * sizeof(RequestRow));
  page_store(&page.body.snapshot, &snapshot,
             offsetof(Snapshot, classes) + snapshot.class_count * sizeof(Snapshot::ClassRow));
  stamp.written_ns = os::monotonic_ns();
  stamp.written_unix_ns = os::unix_ns();
  stamp.next_ns = stamp.written_ns + next_ns;
  stamp.writes = ++p.writes;
  stamp.heap_begin = region_view.base;
  stamp.heap_end = region_view.base + region.view_limit();
  stamp.collect_ns = stamp.written_ns - start;
  page_store(&page.body.stamp, &stamp, sizeof stamp);
  page_end(page);
  p.written_ns = stamp.written_ns;
}

}  // namespace

uint64_t worker_looked(void*& kept, const os::RawThread& thread, uint64_t next_ns) {
  if (os::is_secure()) return next_ns;
  Publication& p = now_published;
  if (kept == nullptr) {
    p = {};
    p.memory.fd = -1;
    kept = &p;
  }
  if (p.memory.start != nullptr && !thread.own_files && !(identity_of(p.memory.fd) == p.identity)) withdraw(p);
  const uint64_t now = os::monotonic_ns();
  auto* page = static_cast<StatisticsPage*>(p.memory.start);
  if (page == nullptr) page = make_page(p, now);
  if (page == nullptr) return next_ns;
  // Rounds that follow each other closely share a write; the last of them is not to wait for long.
  const uint64_t since = now - p.written_ns;
  if (since < kLeastNs) return next_ns < kLeastNs - since ? next_ns : kLeastNs - since;
  write_page(p, *page, next_ns);
  return next_ns;
}

void worker_ends(void*& kept) {
  if (kept == nullptr) return;
  withdraw(now_published);
  kept = nullptr;
}

}  // namespace pm
