// Brings the layers up at the first call of the process, which may come from the dynamic linker before any constructor
// ran: raw system calls, no allocation, no lock of the C library.
#include <atomic>

#include "heap/heap.h"
#include "heap/misuse.h"
#include "magazine/magazine.h"
#include "os/libc.h"
#include "os/process.h"
#include "page/nodes.h"
#include "page/page.h"
#include "profile/profile.h"
#include "reclaim/worker.h"
#include "runtime/live_options.h"
#include "runtime/runtime.h"
#include "slab/slab.h"

namespace pm {
namespace {

Options& current = process_options;
PM_WIDE ClassTable user_classes;  // untouched, hence without pages, unless POOLMALLOC_SIZE_CLASSES is set

// Release by the starter pairs with acquire by everybody who finds the heap started.
std::atomic<Serving> state{Serving::not_started};
std::atomic<int> starter{0};

void write_to_stderr(void*, const char* data, size_t size) { os::write_all(2, data, size); }

void say_active(TextWriter& out, const char* mode) {
  out.text("poolmalloc " POOLMALLOC_VERSION " active in pid ").number(static_cast<unsigned>(os::process_id()));
  out.text(": ").text(mode).text("\n");
  out.flush();
}

// POOLMALLOC_NUMA_NODE as a number; -1 for none, and for what is no number, with a line that says so.
int preferred_node(TextWriter& out) {
  if (current.numa_node[0] == 0) return -1;
  const char* p = current.numa_node;
  const uint64_t node = decimal_at(p);
  if (*p == 0 && node < 1000000) return static_cast<int>(node);
  out.text("poolmalloc: POOLMALLOC_NUMA_NODE=").text(current.numa_node).text(" is not a node's number; using none\n");
  out.flush();
  return -1;
}

void start_nodes(TextWriter& out) {
  const NumaOptions numa = {.mode = current.numa == "off"          ? NumaMode::off
                                    : current.numa == "interleave" ? NumaMode::interleave
                                                                   : NumaMode::automatic,
                            .preferred = preferred_node(out)};
  if (nodes_init(numa)) return;
  out.text("poolmalloc: POOLMALLOC_NUMA_NODE=").text(current.numa_node);
  out.text(" is no memory node of this process; using none\n");
  out.flush();
}

bool start_layers(TextWriter& out) {
  start_nodes(out);
  if (current.size_classes.count > 0) {
    add_size_classes(current.size_classes.values, current.size_classes.count, user_classes);
  }
  const PageOptions page = {.reserve_bytes = current.reserve,
                            .dirty_bytes = current.dirty_bytes,
                            .huge = huge_mode(current),
                            .fit = current.fit == "first"     ? Fit::first
                                   : current.fit == "worst"   ? Fit::worst
                                   : current.fit == "address" ? Fit::address
                                                              : Fit::best};
  const MagazineOptions magazine = {.magazine_bytes = current.magazine_bytes,
                                    .depot_bytes = current.depot_bytes,
                                    .allow_rseq = !(current.magazine == "locked"),
                                    .use_mm_cid = current.cpu_index == "mm_cid",
                                    .checked = current.check == "default"};
  return page_init(page) && slab_init() && magazine_init(magazine);
}

Serving start() {
  char buffer[512];
  TextWriter out(buffer, write_to_stderr);
  load_options();

  const char* instrument = nullptr;
  if (os::is_instrumented(&instrument)) {
    out.text("poolmalloc: ").text(instrument).text(" is at work here; the C library's allocator serves\n");
    out.flush();
    return Serving::passthrough;
  }
  if (!current.enabled) return Serving::passthrough;
  if (!start_layers(out)) {
    out.text("poolmalloc: no address space for the heap; the C library's allocator serves\n");
    out.flush();
    return Serving::passthrough;
  }
  if (current.magazine == "rseq" && magazine_mode() != MagazineMode::rseq) {
    out.text("poolmalloc: restartable sequences are not to be had here; using locked magazines\n");
    out.flush();
  }
  if (current.cpu_index == "mm_cid" && !magazine_uses_mm_cid()) {
    out.text("poolmalloc: this kernel offers no concurrency ids; using CPU numbers\n");
    out.flush();
  }
  if (current.verbose) {
    const bool rseq = magazine_mode() == MagazineMode::rseq;
    say_active(out, !rseq                    ? "locked magazines"
                    : magazine_uses_mm_cid() ? "rseq magazines by mm_cid"
                                             : "rseq magazines");
  }
  start_pressure(current);
  profile_configure(current.profile_bytes);
  heap_view.checked = current.check == "default";
  // From here on the hot path serves.
  heap_view.small_limit = kMaxClassSize + 1;
  return Serving::heap;
}

}  // namespace

namespace {

PM_COLD void load_given_options() {
  char buffer[512];
  TextWriter out(buffer, write_to_stderr);
  parse_options(os::environment(), os::is_secure(), current, out);
  out.flush();
  abort_on_misuse = current.misuse == "abort";
}

}  // namespace

void load_options() {
  // By the constructor or by the first malloc, whichever comes first; no second thread exists yet.
  static bool loaded = false;
  if (loaded) return;
  loaded = true;
  if (mentions_options(os::environment())) load_given_options();
}

const Options& options() { return current; }
Serving serving() { return state.load(std::memory_order_acquire); }

bool start_heap() {
  for (;;) {
    Serving now = state.load(std::memory_order_acquire);
    if (now == Serving::heap || now == Serving::passthrough) return now == Serving::heap;
    if (now == Serving::not_started &&
        state.compare_exchange_strong(now, Serving::starting, std::memory_order_acquire)) {
      starter.store(os::thread_id(), std::memory_order_relaxed);
      state.store(start(), std::memory_order_release);
      continue;
    }
    // A signal handler inside the start cannot wait for it: the C library serves that one call.
    if (starter.load(std::memory_order_relaxed) == os::thread_id()) return false;
    os::yield_thread();
  }
}

namespace {
// The thread that forks is a signal handler's, inside a lock: it cannot take them all. Only that thread's fork handlers
// look at this, one after the other.
bool forked_inside_lock = false;
}  // namespace

bool fork_took_locks() { return serving() == Serving::heap && !forked_inside_lock; }

void before_fork() {
  if (serving() != Serving::heap) return;
  forked_inside_lock = inside_lock();
  if (forked_inside_lock) return;
  worker_before_fork();
  options_before_fork();
  magazine_before_fork();
  profile_before_fork();
  slab_before_fork();
  page_before_fork();
}

void after_fork_parent() {
  if (!fork_took_locks()) return;
  page_after_fork_parent();
  slab_after_fork();
  profile_after_fork_parent();
  magazine_after_fork_parent();
  options_after_fork_parent();
  worker_after_fork_parent();
}

}  // namespace pm
