#include "observe/observer.h"

#include <cerrno>
#include <memory>
#include <string>

#include "os/process.h"
#include "tests/catch.h"
#include "tests/unit/fake_groups.h"

using namespace pm;
using namespace pm::test;

namespace {

constexpr uint64_t kSecond = 1000000000;
const std::string kOwn = "/sys/fs/cgroup/p/c";

constexpr uint32_t bit(Source source) { return uint32_t{1} << static_cast<unsigned>(source); }

// A process in a version 2 group with a limit; everything readable.
struct Fixture {
  FakeFiles files;
  std::unique_ptr<Observer> observer = std::make_unique<Observer>();
  Sample sample{};

  Fixture() {
    process(files, "0::/p/c\n", kMount2);
    root2(files, "/sys/fs/cgroup");
    group2(files, "/sys/fs/cgroup/p", 500, "max");
    group2(files, kOwn, 100, mib(400), "max", 20);
  }
  bool start() { return observer->start({}, files.functions()); }
  Sample& look(uint64_t later = kSecond / 2) {
    files.time_ns += later;
    observer->read(HeapFigures{1, 2, 3, 4, 5, 6, 7, 8}, sample);
    return sample;
  }
};

}  // namespace

TEST_CASE("a sample holds what the files say") {
  Fixture f;
  f.files.address_space_limit = 123456;
  REQUIRE(f.start());
  f.look();
  CHECK(f.sample.missing == 0);
  CHECK(f.sample.time_ns == f.files.time_ns);
  CHECK(f.sample.heap.decommitted_bytes == 8);
  CHECK(f.sample.resident_bytes == 1000 * os::page_size());
  CHECK(f.sample.usage_bytes == 80 * kMiB);
  CHECK(f.sample.limit_bytes == 400 * kMiB);
  CHECK(f.sample.host_available_bytes == 500000 * 1024);
  CHECK(f.observer->status().group_version == 2);
  CHECK(f.observer->status().limit_level == 0);
  CHECK(f.observer->status().group_pressure);
  CHECK(f.observer->status().address_space_bytes == 2000 * os::page_size());
  CHECK(f.observer->status().address_space_limit == 123456);
  f.observer->stop();
  CHECK(f.files.open_count() == 0);
}

TEST_CASE("totals count from the start and go on when their source changes") {
  Fixture f;
  REQUIRE(f.start());
  CHECK(f.look().stall_ns == 0);
  f.files.set(kOwn + "/memory.pressure", "some avg10=0.00 total=150\nfull total=0\n");
  f.files.set(kOwn + "/memory.events", "low 0\nhigh 2\nmax 3\noom 0\n");
  f.look();
  CHECK(f.sample.stall_ns == 50000);
  CHECK(f.sample.limit_events == 5);
  // The group's file goes: the system's total is another count.
  f.files.remove(kOwn + "/memory.pressure");
  CHECK(f.look(6 * kSecond).stall_ns == 50000);
  CHECK_FALSE(f.observer->status().group_pressure);
  f.files.set("/proc/pressure/memory", "some avg10=0.00 total=5007\n");
  CHECK(f.look(6 * kSecond).stall_ns == 57000);
  // A count that shrinks is a new one.
  f.files.set("/proc/pressure/memory", "some avg10=0.00 total=1\n");
  CHECK(f.look().stall_ns == 57000);
  CHECK(f.sample.missing == 0);
}

TEST_CASE("each source that is missing has its bit, and nothing else suffers") {
  struct Case {
    std::string path;
    uint32_t missing;
  };
  for (const Case& c : {Case{"/proc/thread-self/statm", bit(Source::statm)},
                        Case{kOwn + "/memory.current", bit(Source::usage)}, Case{kOwn + "/memory.max", 0},
                        Case{kOwn + "/memory.events", bit(Source::events)}, Case{"/proc/meminfo", bit(Source::host)}}) {
    for (const int how : {0, 1, 2, 3}) {
      if (how == 0 && c.missing == 0) continue;
      Fixture f;
      FakeFiles::Node& node = f.files.set(c.path, f.files.tree[c.path]->text);
      if (how == 0) f.files.remove(c.path);
      if (how == 1) node.open_error = -EACCES;
      if (how == 2) node.text = "garbage \xff\n\n-1 -1\n";
      if (how == 3) node.text = node.text.substr(0, 3);  // cut off
      f.start();
      f.look();
      INFO(c.path << " " << how);
      const uint32_t expected =
          c.missing != 0 ? c.missing : bit(Source::limit) | bit(Source::usage) | bit(Source::events);
      CHECK(f.sample.missing == expected);
      CHECK(f.observer->status().missing == expected);
    }
  }
}

TEST_CASE("no group: the process's own size and no limit") {
  Fixture f;
  process(f.files, "0::/p/c\n", "");
  REQUIRE(f.start());
  f.look();
  CHECK(f.sample.missing == (bit(Source::usage) | bit(Source::limit) | bit(Source::events)));
  CHECK(f.sample.usage_bytes == f.sample.resident_bytes);
  CHECK(f.sample.limit_bytes == kNoLimit);
  // Mounted later: found within five seconds.
  process(f.files, "0::/p/c\n", kMount2);
  CHECK(f.look(6 * kSecond).limit_bytes == 400 * kMiB);
}

TEST_CASE("an empty /proc: start says so, and reading goes on") {
  Fixture f;
  f.files.tree.clear();
  CHECK_FALSE(f.start());
  for (int i = 0; i < 20; ++i) f.look();
  CHECK(f.sample.missing == 63);
  process(f.files, "0::/p/c\n", kMount2);
  group2(f.files, kOwn, 100, mib(400));
  f.look(6 * kSecond);
  CHECK(f.sample.missing == 0);
}

TEST_CASE("limit max: usage is the process's own, nothing is missing") {
  Fixture f;
  f.files.set(kOwn + "/memory.max", "max\n");
  REQUIRE(f.start());
  f.look();
  CHECK(f.sample.missing == 0);
  CHECK(f.sample.limit_bytes == kNoLimit);
  CHECK(f.sample.usage_bytes == f.sample.resident_bytes);
  CHECK(f.observer->status().limit_level == 255);
  // A limit is set while it runs.
  f.files.set("/sys/fs/cgroup/p/memory.max", mib(600) + "\n");
  f.look(kSecond);
  CHECK(f.sample.limit_bytes == 600 * kMiB);
  CHECK(f.sample.usage_bytes == 500 * kMiB);
  CHECK(f.observer->status().limit_level == 1);
}

TEST_CASE("a process that was moved is found in its new group") {
  Fixture f;
  REQUIRE(f.start());
  f.look();
  group2(f.files, "/sys/fs/cgroup/q", 10, mib(50));
  f.files.set("/proc/thread-self/cgroup", "0::/q\n");
  f.look(6 * kSecond);
  CHECK(f.sample.limit_bytes == 50 * kMiB);
  CHECK(f.observer->status().relocations == 2);
}

TEST_CASE("a group that was removed is noticed at once") {
  Fixture f;
  REQUIRE(f.start());
  f.look();
  f.files.set("/proc/thread-self/cgroup", "0::/p\n");
  f.files.remove_below(kOwn);
  f.files.set("/sys/fs/cgroup/p/memory.max", mib(700) + "\n");
  f.look();
  f.look(kSecond);
  CHECK(f.sample.limit_bytes == 700 * kMiB);
  CHECK(f.sample.missing == 0);
}

TEST_CASE("the program closes every descriptor: the next sample is whole again") {
  Fixture f;
  REQUIRE(f.start());
  f.look(6 * kSecond);
  const size_t open = f.files.open_count();
  f.files.close_all();
  f.look();
  CHECK(f.sample.missing == 0);
  CHECK(f.sample.usage_bytes == 80 * kMiB);
  f.look(kSecond);
  f.look(6 * kSecond);
  CHECK(f.files.open_count() == open);
}

TEST_CASE("numbers that are the program's now are neither read nor closed") {
  Fixture f;
  REQUIRE(f.start());
  f.look();
  const size_t open = f.files.open_count();
  auto foreign = f.files.take_over_all();
  f.look();
  f.look(kSecond);
  f.look(6 * kSecond);
  CHECK(f.sample.missing == 0);
  CHECK(f.sample.usage_bytes == 80 * kMiB);
  f.observer->acknowledge();
  f.observer->stop();
  CHECK(foreign->foreign_uses == 0);
  CHECK(f.files.open_count() == open);
}

TEST_CASE("a forked child starts anew and leaves nothing of its parent's open") {
  Fixture f;
  REQUIRE(f.start());
  f.look(6 * kSecond);
  const size_t open = f.files.open_count();
  f.files.process_id = 101;
  f.files.set("/proc/thread-self/statm", "20 10 1 1 0 5 0\n");
  f.look();
  CHECK(f.sample.missing == 0);
  CHECK(f.sample.resident_bytes == 10 * os::page_size());
  f.look(6 * kSecond);
  CHECK(f.files.open_count() == open);
}

TEST_CASE("a first thread that ended: zeros are no figures") {
  Fixture f;
  REQUIRE(f.start());
  f.files.set("/proc/thread-self/statm", "0 0 0 0 0 0 0\n");
  CHECK(f.look().missing == bit(Source::statm));
  f.files.set("/proc/thread-self/statm", "20 10 1 1 0 5 0\n");
  CHECK(f.look().missing == 0);
}

TEST_CASE("clocks that jump do no harm") {
  Fixture f;
  REQUIRE(f.start());
  f.look();
  for (const uint64_t time : {uint64_t{0}, UINT64_MAX, uint64_t{1}, UINT64_MAX - 1, uint64_t{5} * kSecond}) {
    f.files.time_ns = time;
    f.look(0);
    CHECK(f.sample.missing == 0);
    CHECK(f.sample.usage_bytes == 80 * kMiB);
    const uint32_t delay = f.observer->next_delay_ms(f.sample);
    CHECK((delay >= 100 && delay <= 10000));
    f.observer->waitables();
  }
  // Times from the future that were noted before do not put anything off: a new limit is seen as soon as ever.
  f.files.set(kOwn + "/memory.max", "209715200\n");
  f.look();
  f.look(30 * kSecond);
  CHECK(f.sample.limit_bytes == 200 * kMiB);
}

TEST_CASE("a settled sample opens nothing") {
  Fixture f;
  REQUIRE(f.start());
  for (int i = 0; i < 20; ++i) f.look();
  const unsigned opens = f.files.opens;
  for (int i = 0; i < 40; ++i) f.look();
  CHECK(f.files.opens == opens);
}

TEST_CASE("waking is reported with its source") {
  Fixture f;
  REQUIRE(f.start());
  f.look();
  pollfd* const entries = f.observer->waitables();
  REQUIRE(entries[static_cast<unsigned>(Wake::events)].fd >= 0);
  entries[static_cast<unsigned>(Wake::events)].revents = POLLPRI | POLLERR;
  CHECK(f.observer->acknowledge() == wake_bit(Wake::events));
  CHECK(f.observer->status().woken_by == wake_bit(Wake::events));
  CHECK(f.observer->status().wakes == 1);
  f.observer->waitables();
  CHECK(f.observer->acknowledge() == 0);
}

TEST_CASE("an observer that was not started reads nothing") {
  Observer observer;
  Sample sample{};
  observer.read(HeapFigures{}, sample);
  CHECK(sample.missing == 63);
  CHECK(sample.limit_bytes == kNoLimit);
  CHECK(observer.acknowledge() == 0);
  observer.stop();
}
