// start.cc, collect.cc and api.cc together: the heap as a process has it.
#include "runtime/runtime.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "heap/heap.h"
#include "os/libc.h"
#include "poolmalloc/poolmalloc.h"
#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

const void* here() { return reinterpret_cast<const void*>(&trim_heap); }

bool is_instrumented() {
  const char* name = nullptr;
  return os::is_instrumented(&name);
}

TEST_CASE("switched off, or under a sanitizer, the C library serves") {
  const pm::test::Outcome outcome = pm::test::run_in_child([] {
    setenv("POOLMALLOC_ENABLED", "0", 1);
    EXPECT(!start_heap() && serving() == Serving::passthrough);
    EXPECT(strcmp(pm_mode(), "passthrough") == 0);
    void* const p = allocate(100);
    EXPECT(p != nullptr && !region.contains(p));
    EXPECT(reallocate(p, 200, here()) != nullptr && allocate_zeroed(10) != nullptr);
    EXPECT(allocate_aligned(64, 10) != nullptr);
    deallocate(allocate(10), here());
    EXPECT(pm_trim(SIZE_MAX) == 0);
    unsigned long long value = 1;
    EXPECT(pm_metric_get("committed_bytes", &value) == 0 && value == 0);
  });
  CHECK(outcome.status == 0);
  CHECK(outcome.output.empty() == !is_instrumented());
}

TEST_CASE("bad options are one line each and change nothing") {
  const pm::test::Outcome outcome = pm::test::run_in_child([] {
    setenv("POOLMALLOC_MAGAZINE", "sideways", 1);
    setenv("POOLMALLOC_DIRTY_BYTES", "1m", 1);
    start_heap();
    EXPECT(options().magazine == "auto" && options().dirty_bytes == 1 << 20);
  });
  CHECK(outcome.status == 0);
  CHECK(outcome.output.find("POOLMALLOC_MAGAZINE") != std::string::npos);
  CHECK(outcome.output.find("DIRTY") == std::string::npos);
}

TEST_CASE("a memory node that does not exist, or is no number, is one line, and the process goes on") {
  if (is_instrumented()) return;
  for (const char* node : {"1000", "99999999999999999999", "one", "-1", "0x"}) {
    const pm::test::Outcome outcome = pm::test::run_in_child([node] {
      setenv("POOLMALLOC_NUMA_NODE", node, 1);
      EXPECT(start_heap() && allocate(100) != nullptr);
    });
    INFO(node << ": " << outcome.output);
    CHECK(outcome.status == 0);
    CHECK(outcome.output.rfind(std::string("poolmalloc: POOLMALLOC_NUMA_NODE=") + node + " is no", 0) == 0);
    CHECK(outcome.output.find('\n') == outcome.output.size() - 1);
  }
  for (const char* mode : {"off", "auto", "interleave"}) {
    const pm::test::Outcome outcome = pm::test::run_in_child([mode] {
      setenv("POOLMALLOC_NUMA", mode, 1);
      if (strcmp(mode, "off") != 0) setenv("POOLMALLOC_NUMA_NODE", "0", 1);
      EXPECT(start_heap() && allocate(100) != nullptr);
    });
    CHECK(outcome.status == 0);
    CHECK(outcome.output.empty());
  }
}

TEST_CASE("options are told by name") {
  in_fresh_process([] {
    setenv("POOLMALLOC_DIRTY_BYTES", "64m", 1);
    char text[8];
    int is_default = -1;
    EXPECT(pm_option_get("dirty_bytes", text, sizeof text, &is_default) == 3);
    EXPECT(strcmp(text, "64m") == 0 && is_default == 0);
    EXPECT(pm_option_get("check", text, sizeof text, &is_default) == 7 && is_default == 1);
    EXPECT(pm_option_get("check", text, 3, nullptr) == 7 && strcmp(text, "de") == 0);
    errno = 0;
    EXPECT(pm_option_get("chequers", text, sizeof text, nullptr) == -1 && errno == ENOENT);
  });
}

TEST_CASE("the statistics know what is alive") {
  in_fresh_process([] {
    if (!start_heap()) return;
    EXPECT(serving() == Serving::heap && (strcmp(pm_mode(), "rseq") == 0 || strcmp(pm_mode(), "locked") == 0));
    static Snapshot before;
    static Snapshot now;
    collect(before);
    void* small[100];
    for (void*& p : small) p = allocate(1000);
    void* const large = allocate(1'000'000);
    collect(now);
    EXPECT(strcmp(now.mode, pm_mode()) == 0);
    EXPECT(now.live_objects - before.live_objects == 101);
    EXPECT(now.live_small_bytes - before.live_small_bytes == 100 * size_class(class_of(1000)).size);
    EXPECT(now.live_large_bytes - before.live_large_bytes >= 1'000'000 && now.large_objects == 1);
    EXPECT(now.live_bytes == now.live_small_bytes + now.live_large_bytes);
    EXPECT(now.allocations - before.allocations >= 101);
    EXPECT(now.resident_bytes > 0 && now.committed_bytes >= now.live_bytes && now.metadata_bytes > 0);
    EXPECT(now.class_count == class_table->count - 1);
    uint64_t class_objects = 0;
    for (uint32_t i = 0; i < now.class_count; ++i) class_objects += now.classes[i].live_objects;
    EXPECT(class_objects + now.large_objects == now.live_objects);
    for (void* p : small) deallocate(p, here());
    deallocate(large, here());
    collect(now);
    EXPECT(now.live_objects == before.live_objects && now.large_frees == 1);
    EXPECT(pm_trim(SIZE_MAX) > 0);
    collect(now);
    EXPECT(now.dirty_bytes == 0 && now.slabs == 0 && now.magazine_objects == 0);
  });
}

TEST_CASE("the statistics are written to a descriptor, in three formats") {
  in_fresh_process([] {
    start_heap();
    const char* const beginnings[] = {"poolmalloc", "{", "#"};
    for (const pm_format format : {PM_FORMAT_TEXT, PM_FORMAT_JSON, PM_FORMAT_OPENMETRICS}) {
      FILE* const file = tmpfile();
      EXPECT(pm_stats_write(fileno(file), format) == 0);
      char text[64] = {};
      rewind(file);
      EXPECT(fread(text, 1, sizeof text - 1, file) == sizeof text - 1);
      EXPECT(strncmp(text, beginnings[format], strlen(beginnings[format])) == 0);
      fclose(file);
    }
    errno = 0;
    EXPECT(pm_stats_write(-1, PM_FORMAT_TEXT) == -1 && errno == EBADF);
    errno = 0;
    EXPECT(pm_stats_write(1, static_cast<pm_format>(3)) == -1 && errno == EINVAL);
    unsigned long long value = 0;
    errno = 0;
    EXPECT(pm_metric_get("no_such_metric", &value) == -1 && errno == ENOENT);
  });
}

TEST_CASE("many threads start the heap once") {
  in_fresh_process([] {
    std::vector<std::thread> threads;
    std::atomic<int> started{0};
    for (int i = 0; i < 8; ++i) threads.emplace_back([&] { started += start_heap(); });
    for (std::thread& thread : threads) thread.join();
    EXPECT(started == (is_instrumented() ? 0 : 8));
  });
}

TEST_CASE("the fork handlers leave the heap usable on both sides") {
  in_fresh_process([] {
    if (!start_heap()) return;
    char* const p = static_cast<char*>(allocate(100));
    strcpy(p, "inherited");
    before_fork();
    const pid_t child = fork();
    if (child == 0) {
      after_fork_child();
      EXPECT(strcmp(p, "inherited") == 0);
      deallocate(p, here());
      EXPECT(allocate(1'000'000) != nullptr);
      trim_heap(SIZE_MAX);
      static Snapshot snapshot;
      collect(snapshot);
      EXPECT(snapshot.fork_children == 1);
      _exit(0);
    }
    after_fork_parent();
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(strcmp(p, "inherited") == 0);
    deallocate(p, here());
    trim_heap(SIZE_MAX);
  });
}

}  // namespace
