// metrics/page.cc, os/shared_page.cc and runtime/publish.cc: what is written, what others see of it, and for how long.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "heap/heap.h"
#include "metrics/page.h"
#include "os/shared_page.h"
#include "profile/profile.h"
#include "reclaim/worker.h"
#include "runtime/runtime.h"
#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

const void* here() { return reinterpret_cast<const void*>(&trim_heap); }

// A body in which every number is derived from `n`, so that a mixture of two writes shows.
void fill(PageBody& body, uint64_t n) {
  memset(static_cast<void*>(&body), 0, sizeof body);
  body.stamp.writes = n;
  body.stamp.cpu_rows = static_cast<uint32_t>(n % kMaxCpuRows);
  body.stamp.node_rows = 1;
  body.stamp.events = static_cast<uint32_t>(n % kMaxEvents);
  body.stamp.site_rows = static_cast<uint32_t>(n % kMaxSiteRows);
  body.stamp.request_rows = static_cast<uint32_t>(n % kMaxRequestRows);
  body.nodes[0].mapped_bytes = n;
  for (uint32_t i = 0; i < body.stamp.cpu_rows; ++i) body.cpus[i].bytes = n;
  for (uint32_t i = 0; i < body.stamp.events; ++i) body.events[i].bytes = n;
  for (uint32_t i = 0; i < body.stamp.site_rows; ++i) body.sites[i].bytes = n;
  for (uint32_t i = 0; i < body.stamp.request_rows; ++i) body.requests[i].samples = static_cast<uint32_t>(n);
  for (const MetricInfo& info : kMetricInfo) body.snapshot.*info.value = n;
  body.snapshot.class_count = static_cast<uint32_t>(n % kMaxSnapshotClasses);
  for (uint32_t i = 0; i < body.snapshot.class_count; ++i) body.snapshot.classes[i].live_objects = n;
}

void write(StatisticsPage& page, const PageBody& body) {
  page_begin(page);
  page_store(&page.body, &body, sizeof body);
  page_end(page);
}

bool is_of_one_write(const PageBody& body) {
  const uint64_t n = body.stamp.writes;
  bool same = body.stamp.cpu_rows == n % kMaxCpuRows && body.stamp.events == n % kMaxEvents &&
              body.stamp.site_rows == n % kMaxSiteRows && body.stamp.request_rows == n % kMaxRequestRows &&
              body.snapshot.class_count == n % kMaxSnapshotClasses && body.nodes[0].mapped_bytes == n;
  for (uint32_t i = 0; i < body.stamp.cpu_rows; ++i) same = same && body.cpus[i].bytes == n;
  for (uint32_t i = 0; i < body.stamp.events; ++i) same = same && body.events[i].bytes == n;
  for (uint32_t i = 0; i < body.stamp.site_rows; ++i) same = same && body.sites[i].bytes == n;
  for (uint32_t i = 0; i < body.stamp.request_rows; ++i) same = same && body.requests[i].samples == n;
  for (const MetricInfo& info : kMetricInfo) same = same && body.snapshot.*info.value == n;
  for (uint32_t i = 0; i < body.snapshot.class_count; ++i) same = same && body.snapshot.classes[i].live_objects == n;
  return same;
}

TEST_CASE("a page that was never written gives nothing, one that was gives it back") {
  const auto page = std::make_unique<StatisticsPage>();
  const auto body = std::make_unique<PageBody>();
  CHECK(!page_read(*page, *body));
  const auto written = std::make_unique<PageBody>();
  fill(*written, 77);
  strcpy(written->options, "worker=always\n");
  strcpy(written->snapshot.mode, "rseq");
  write(*page, *written);
  REQUIRE(page_read(*page, *body));
  CHECK(body->stamp.writes == 77);
  CHECK(is_of_one_write(*body));
  CHECK(body->options == std::string("worker=always\n"));
  CHECK(body->snapshot.mode == std::string("rseq"));
  // A writer that never ends is not waited for.
  page_begin(*page);
  CHECK(!page_read(*page, *body));
}

TEST_CASE("counts and texts out of bounds are brought back into them") {
  const auto page = std::make_unique<StatisticsPage>();
  const auto body = std::make_unique<PageBody>();
  memset(static_cast<void*>(body.get()), 0x7f, sizeof *body);
  write(*page, *body);
  const auto read = std::make_unique<PageBody>();
  REQUIRE(page_read(*page, *read));
  CHECK(read->stamp.cpu_rows == kMaxCpuRows);
  CHECK(read->stamp.node_rows == kMaxNodeRows);
  CHECK(read->stamp.events == kMaxEvents);
  CHECK(read->stamp.site_rows == kMaxSiteRows);
  CHECK(read->sites[0].frames == kSiteFrames);
  CHECK(read->stamp.request_rows == kMaxRequestRows);
  CHECK(read->snapshot.class_count == kMaxSnapshotClasses);
  CHECK(strlen(read->options) == kOptionsText - 1);
  CHECK(strlen(read->snapshot.mode) == sizeof read->snapshot.mode - 1);
  CHECK(strlen(read->snapshot.fit) == sizeof read->snapshot.fit - 1);
}

TEST_CASE("no reader ever sees parts of two writes") {
  const auto page = std::make_unique<StatisticsPage>();
  std::atomic<bool> stop{false};
  std::atomic<unsigned> seen{0};
  std::atomic<unsigned> mixed{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      const auto body = std::make_unique<PageBody>();
      while (!stop.load()) {
        if (!page_read(*page, *body)) continue;
        seen.fetch_add(1);
        if (!is_of_one_write(*body)) mixed.fetch_add(1);
      }
    });
  }
  const auto body = std::make_unique<PageBody>();
  for (uint64_t n = 1; n < 100'000 && (n < 3000 || seen.load() < 2000); ++n) {
    fill(*body, n);
    write(*page, *body);
    if (n % 16 == 0) std::this_thread::yield();
  }
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  CHECK(seen.load() > 0);
  CHECK(mixed.load() == 0);
}

TEST_CASE("a head says what fits: magic, layout, fingerprint and length") {
  const auto page = std::make_unique<StatisticsPage>();
  CHECK(check_page(page->head, sizeof *page) == PageCheck::no_page);
  page_make_head(*page, "1.2.3-a-very-long-name-of-a-version", 5, 6);
  CHECK(check_page(page->head, sizeof *page) == PageCheck::fits);
  CHECK(strlen(page->head.version) == sizeof page->head.version - 1);
  CHECK(page->head.process == 5);
  CHECK(check_page(page->head, sizeof *page - 1) == PageCheck::other_version);
  CHECK(check_page(page->head, 10) == PageCheck::no_page);
  PageHead other = page->head;
  other.layout = kPageLayout + 1;
  CHECK(check_page(other, sizeof *page) == PageCheck::other_version);
  other = page->head;
  other.fingerprint ^= 1;
  CHECK(check_page(other, sizeof *page) == PageCheck::other_version);
  other = page->head;
  other.magic ^= 1;
  CHECK(check_page(other, sizeof *page) == PageCheck::no_page);
  // What every version finds at the same places.
  CHECK(offsetof(PageHead, magic) == 0);
  CHECK(offsetof(PageHead, layout) == 8);
  CHECK(offsetof(PageHead, bytes) == 12);
  CHECK(offsetof(PageHead, fingerprint) == 16);
  CHECK(offsetof(PageHead, version) == 24);
}

TEST_CASE("shared memory has a fixed length, is for us alone to write, and does not pass to children") {
  const os::SharedMemory memory = os::make_shared_memory("poolmalloc-test", 8192);
  REQUIRE(memory.start != nullptr);
  CHECK(ftruncate(memory.fd, 0) != 0);
  CHECK(ftruncate(memory.fd, 1 << 20) != 0);
  strcpy(static_cast<char*>(memory.start), "seen");
  const std::string path = "/proc/self/fd/" + std::to_string(memory.fd);
  const int reader = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(reader >= 0);
  char text[5] = {};
  CHECK(pread(reader, text, 4, 0) == 4);
  CHECK(text == std::string("seen"));
  const int writer = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (writer >= 0 && (fcntl(writer, F_GET_SEALS) & 0x10) != 0) {  // Linux 5.1
    CHECK(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0) == MAP_FAILED);
    CHECK(pwrite(writer, "no", 2, 0) < 0);
  }
  in_fresh_process([&] {
    unsigned char resident[2];
    EXPECT(mincore(memory.start, 8192, resident) != 0);  // nothing is mapped there
  });
  if (writer >= 0) close(writer);
  close(reader);
  os::drop_shared_memory(memory, 8192);
  unsigned char resident[2];
  CHECK(mincore(memory.start, 8192, resident) != 0);
}

TEST_CASE("events come in their order, of this process alone, the last ones") {
  in_fresh_process([] {
    for (uint64_t i = 0; i < kMaxEvents + 10; ++i) record_event(EventKind::decommit, i, 3);
    record_level(1, 4);
    std::vector<Event> events;
    const auto keep = [](void* context, const Event& event) {
      static_cast<std::vector<Event>*>(context)->push_back(event);
    };
    each_event(keep, &events);
    EXPECT(events.size() == kMaxEvents && events[0].bytes == 11 && events[0].reason == 3);
    EXPECT(events.back().kind == EventKind::level && events.back().from == 1 && events.back().to == 4);
    for (size_t i = 1; i < events.size(); ++i) EXPECT(events[i].time_ns >= events[i - 1].time_ns);
    const pid_t child = fork();
    if (child == 0) {
      events.clear();
      record_event(EventKind::trim, 1);
      each_event(keep, &events);
      EXPECT(events.size() == 1 && events[0].kind == EventKind::trim);
      _exit(0);
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
  });
}

TEST_CASE("events of many threads at once are whole") {
  in_fresh_process([] {
    std::atomic<bool> stop{false};
    std::vector<std::thread> writers;
    for (uint8_t t = 0; t < 3; ++t) {
      writers.emplace_back([&stop, t] {
        for (uint64_t i = 0; !stop.load(); ++i) record_event(EventKind::drain, i * 4 + t, t);
      });
    }
    unsigned torn = 0;
    for (int i = 0; i < 2000; ++i) {
      each_event(
          [](void* context, const Event& event) {
            if (event.kind != EventKind::drain || event.bytes % 4 != event.reason) ++*static_cast<unsigned*>(context);
          },
          &torn);
    }
    stop.store(true);
    for (std::thread& writer : writers) writer.join();
    EXPECT(torn == 0);
  });
}

// The page of this process, through /proc as others see it; nullptr if there is none within some seconds.
const StatisticsPage* find_own_page() {
  for (int i = 0; i < 500; ++i, usleep(10'000)) {
    for (int fd = 0; fd < 64; ++fd) {
      // The worker's file table is its own: look in every thread's.
      for (int task = getpid(); task < getpid() + 64; ++task) {
        const std::string path = "/proc/self/task/" + std::to_string(task) + "/fd/" + std::to_string(fd);
        char target[128] = {};
        if (readlink(path.c_str(), target, sizeof target - 1) <= 0) continue;
        if (std::string(target) != "/memfd:" + std::string(kPageName) + " (deleted)") continue;
        const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        void* const start = mmap(nullptr, sizeof(StatisticsPage), PROT_READ, MAP_SHARED, file, 0);
        close(file);
        if (start == MAP_FAILED) continue;
        const auto* const page = static_cast<const StatisticsPage*>(start);
        if (page->sequence.load() != 0) return page;
        munmap(start, sizeof(StatisticsPage));
      }
    }
  }
  return nullptr;
}

TEST_CASE("the worker publishes what collect() says, and a child publishes its own") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER", "always", 1);
    setenv("POOLMALLOC_DEPOT_BYTES", "8m", 1);
    if (!start_heap()) return;
    std::vector<void*> objects;
    for (int i = 0; i < 3000; ++i) objects.push_back(allocate(1000));
    if (worker_state() != WorkerState::running) return;  // no such threads here
    const StatisticsPage* const page = find_own_page();
    EXPECT(page != nullptr && check_page(page->head, sizeof *page) == PageCheck::fits);
    EXPECT(page->head.process == static_cast<uint32_t>(getpid()));
    const auto body = std::make_unique<PageBody>();
    EXPECT(page_read(*page, *body));
    EXPECT(std::string(body->options).find("worker=always\n") != std::string::npos);
    EXPECT(std::string(body->options).find("depot_bytes=8m\n") != std::string::npos);
    EXPECT(body->stamp.cpu_rows >= 1 && body->stamp.node_rows >= 1 && body->nodes[0].mapped_bytes > 0);
    EXPECT(body->stamp.events >= 1 && body->events[0].kind == EventKind::worker);
    // Once nothing moves any more, page and collect() agree to the byte.
    const auto now = std::make_unique<Snapshot>();
    bool same = false;
    for (int i = 0; i < 400 && !same; ++i, usleep(10'000)) {
      collect(*now);
      EXPECT(page_read(*page, *body));
      same = body->snapshot.live_small_bytes == now->live_small_bytes &&
             body->snapshot.slab_free_bytes == now->slab_free_bytes &&
             body->snapshot.committed_bytes == now->committed_bytes && now->live_small_bytes >= 3'000'000;
    }
    EXPECT(same);
    // A page's own sum.
    const Snapshot& s = body->snapshot;
    EXPECT(s.committed_bytes == s.live_bytes + s.large_tail_bytes + s.magazine_bytes + s.depot_bytes +
                                    s.slab_free_bytes + s.slab_tail_bytes + s.dirty_bytes + s.clean_bytes);
    uint64_t cpus = 0;
    for (uint32_t i = 0; i < body->stamp.cpu_rows; ++i) cpus += body->cpus[i].bytes;
    EXPECT(cpus == s.magazine_bytes);

    // While a profile is taken, the page names the sites that hold most and what was asked for.
    EXPECT(body->stamp.site_rows == 0 && profile_start(1) == 0);
    for (int i = 0; i < 200; ++i) objects.push_back(allocate(1040));
    const auto wait_for_sites = [&](bool any) {
      for (int i = 0; i < 1000; ++i, usleep(10'000)) {
        if (page_read(*page, *body) && (body->stamp.site_rows != 0) == any) return true;
      }
      return false;
    };
    EXPECT(wait_for_sites(true));
    for (int i = 0; i < 1000 && body->sites[0].samples < 200; ++i, usleep(10'000)) page_read(*page, *body);
    EXPECT(body->sites[0].size == 1152 && body->sites[0].samples == 200 && body->sites[0].frames > 0);
    EXPECT(body->stamp.request_rows == 1 && body->requests[0].size == 1040 && body->requests[0].samples == 200);
    EXPECT(profile_stop() == 0 && wait_for_sites(false));

    before_fork();
    const pid_t child = fork();
    if (child == 0) {
      after_fork_child();
      for (int i = 0; i < 300; ++i) objects.push_back(allocate(5000));
      EXPECT(worker_state() == WorkerState::running);
      const StatisticsPage* const own = find_own_page();
      EXPECT(own != nullptr && own->head.process == static_cast<uint32_t>(getpid()));
      EXPECT(page_read(*own, *body) && body->snapshot.fork_children == 1);
      _exit(0);
    }
    after_fork_parent();
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(page_read(*page, *body) && body->snapshot.fork_children == 0);
    // Without its worker there is no page: the next one makes another.
    worker_stop();
    EXPECT(worker_state() == WorkerState::none);
    for (int fd = 0; fd < 64; ++fd) {
      char target[128] = {};
      const std::string path = "/proc/self/fd/" + std::to_string(fd);
      EXPECT(readlink(path.c_str(), target, sizeof target - 1) <= 0 || strstr(target, kPageName) == nullptr);
    }
    for (void* p : objects) deallocate(p, here());
  });
}

}  // namespace
