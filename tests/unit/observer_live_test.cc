// The sensors against this kernel: a memory group of our own below the one we are in, made and removed here.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/compiler.h"
#include "observe/observer.h"
#include "os/process.h"
#include "tests/catch.h"
#include "tests/unit/fresh_process.h"

using namespace pm;

namespace {

constexpr size_t kMiB = 1 << 20;

bool write_text(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return written;
}

// A group below our own with a limit. Only version 1 lets a group with processes have children that limit.
struct Box {
  std::string directory;
  std::string why_not;

  Box() {
    if (PM_SANITIZED) {
      why_not = "a sanitizer's shadow memory would fill the group";
      return;
    }
    static char scratch[8192];
    os::Groups groups;
    os::find_groups(os::files(), {scratch, sizeof scratch}, groups);
    if (groups.memory.version != 1) {
      why_not = "no version 1 memory hierarchy";
      return;
    }
    const std::string name =
        std::string(groups.memory.directory, groups.memory.size) + "/poolmalloc-test-" + std::to_string(getpid());
    if (mkdir(name.c_str(), 0755) != 0) {
      why_not = "a memory group cannot be made here: " + std::string(strerror(errno));
      return;
    }
    directory = name;
    if (!limit(64 * kMiB)) why_not = "the limit of a memory group cannot be set here";
  }
  ~Box() {
    // The kernel takes a moment to let go of an ended process.
    for (int i = 0; i < 100 && !directory.empty() && rmdir(directory.c_str()) != 0 && errno == EBUSY; ++i)
      usleep(10000);
  }
  bool limit(size_t bytes) const { return write_text(directory + "/memory.limit_in_bytes", std::to_string(bytes)); }
  bool enter() const { return write_text(directory + "/cgroup.procs", "0"); }
  bool usable() const {
    if (!why_not.empty()) WARN("skipped: " << why_not);
    return why_not.empty();
  }
};

char* touch(size_t bytes) {
  char* const p = static_cast<char*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT(p != MAP_FAILED);
  for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
  return p;
}

Observer observer;

Sample look() {
  Sample sample{};
  observer.read(HeapFigures{}, sample);
  return sample;
}

}  // namespace

TEST_CASE("this process as it is") {
  REQUIRE(observer.start({}));
  const Sample sample = look();
  CHECK((sample.missing & 1U) == 0);
  CHECK(sample.resident_bytes > 100000);
  CHECK(sample.resident_bytes < os::physical_memory());
  CHECK(sample.time_ns != 0);
  CHECK(sample.usage_bytes > 0);
  CHECK(observer.status().address_space_bytes >= sample.resident_bytes);
  observer.stop();
}

TEST_CASE("resident memory is seen to grow") {
  REQUIRE(observer.start({}));
  const uint64_t before = look().resident_bytes;
  touch(32 * kMiB);
  CHECK(look().resident_bytes >= before + 31 * kMiB);
  observer.stop();
}

TEST_CASE("usage, limit, moves and thresholds of a real group") {
  const Box box;
  if (!box.usable()) return;
  test::in_fresh_process([&] {
    EXPECT(observer.start({}));
    look();
    EXPECT(box.enter());
    // Moved while it runs: noticed within five seconds, here by starting anew.
    observer.stop();
    EXPECT(observer.start({}));
    Sample sample = look();
    EXPECT(sample.limit_bytes == 64 * kMiB);
    EXPECT(sample.usage_bytes < 64 * kMiB);
    EXPECT(observer.status().group_version == 1);
    EXPECT(observer.status().limit_level == 0);
    const uint64_t before = sample.usage_bytes;
    char* const held = touch(20 * kMiB);
    sample = look();
    EXPECT(sample.usage_bytes >= before + 19 * kMiB);
    EXPECT(sample.usage_bytes < 64 * kMiB);

    // Over 80 %: the worker would be woken.
    pollfd* entries = observer.waitables();
    if (entries[static_cast<unsigned>(Wake::threshold)].fd >= 0) {
      touch(34 * kMiB);
      EXPECT(os::wait_for_files(entries, kWakes, 2000) > 0);
      EXPECT((observer.acknowledge() & wake_bit(Wake::threshold)) != 0);
    }

    EXPECT(box.limit(80 * kMiB));
    usleep(1100000);
    EXPECT(look().limit_bytes == 80 * kMiB);

    // Memory given back is usage that falls.
    const uint64_t full = look().usage_bytes;
    EXPECT(munmap(held, 20 * kMiB) == 0);
    EXPECT(look().usage_bytes + 18 * kMiB < full);
    observer.stop();
  });
}

TEST_CASE("a program that closes all its descriptors") {
  test::in_fresh_process([] {
    EXPECT(observer.start({}));
    const uint32_t missing = look().missing;
    EXPECT(close_range(3, ~0U, 0) == 0);
    const Sample sample = look();
    EXPECT(sample.missing == missing);
    EXPECT(sample.resident_bytes != 0);
    usleep(1100000);
    EXPECT(look().missing == missing);
    observer.stop();
    // Everything that was opened is closed.
    for (int fd = 3; fd < 1024; ++fd) EXPECT(fcntl(fd, F_GETFD) < 0);
  });
}

TEST_CASE("a child of fork sees its own figures") {
  REQUIRE(observer.start({}));
  touch(64 * kMiB);
  const uint64_t parent = look().resident_bytes;
  test::in_fresh_process([&] {
    touch(32 * kMiB);
    const Sample sample = look();
    EXPECT((sample.missing & 1U) == 0);
    EXPECT(sample.resident_bytes != parent);
    char text[64];
    EXPECT(os::read_small_file("/proc/self/statm", text, sizeof text) > 0);
    const uint64_t actual = strtoull(strchr(text, ' '), nullptr, 10) * os::page_size();
    EXPECT(sample.resident_bytes + kMiB > actual && sample.resident_bytes < actual + kMiB);
    observer.stop();
  });
  observer.stop();
}

TEST_CASE("stall triggers are accepted without a privilege, where the kernel has them") {
  Waits waits;
  GroupLimits limits;
  static char scratch[8192];
  waits.configure(nullptr, nullptr);
  waits.arrange(os::files(), {scratch, sizeof scratch}, os::GroupPath{}, limits, 0, UINT64_MAX);
  pollfd* const entries = waits.entries(os::monotonic_ns());
  if (entries[0].fd < 0) {
    WARN("skipped: no stall triggers here");
    return;
  }
  // Nothing stalls now, or it does: but the trigger is valid, so it never says error.
  os::wait_for_files(entries, kWakes, 10);
  CHECK((entries[0].revents & (POLLERR | POLLNVAL)) == 0);
  waits.close(os::files(), {scratch, sizeof scratch});
}
