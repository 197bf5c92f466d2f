#include "os/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "tests/unit/fresh_process.h"
#include "tests/window.h"

namespace {

using namespace pm;

TEST_CASE("small files are read whole, cut, or refused") {
  char name[] = "/tmp/process_test_XXXXXX";
  const int fd = mkstemp(name);
  REQUIRE(fd >= 0);
  REQUIRE(os::write_all(fd, "twelve chars", 12) == 0);
  char text[16];
  CHECK(os::read_small_file(name, text, sizeof text) == 12);
  CHECK(std::string(text) == "twelve chars");
  CHECK(os::read_small_file(name, text, 13) == 12);
  CHECK(os::read_small_file(name, text, 7) == 6);
  CHECK(std::string(text) == "twelve");
  CHECK(os::read_small_file(name, text, 1) == 0);
  CHECK(std::string(text).empty());
  unlink(name);
  errno = 0;
  CHECK(os::read_small_file(name, text, sizeof text) == -ENOENT);
  CHECK(errno == 0);
  CHECK(os::read_small_file("/proc/self/statm", text, sizeof text) > 0);
}

TEST_CASE("writing goes on over short writes, and reports errors") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const std::string large(1 << 20, 'x');
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    _exit(os::write_all(ends[1], large.data(), large.size()) == 0 ? 0 : 1);
  }
  close(ends[1]);
  size_t total = 0;
  char chunk[4096];
  for (ssize_t n; (n = read(ends[0], chunk, sizeof chunk)) > 0;) total += static_cast<size_t>(n);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(total == large.size());
  CHECK(status == 0);
  CHECK(os::write_all(-1, "x", 1) == -EBADF);
}

TEST_CASE("files of ours are closed on exec and for us alone") {
  char name[] = "/tmp/process_test_XXXXXX";
  close(mkstemp(name));
  const int fd = os::create_file(name);
  REQUIRE(fd >= 0);
  CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
  const int copy = os::keep_file(fd);
  CHECK(copy >= 200);
  CHECK((fcntl(copy, F_GETFD) & FD_CLOEXEC) != 0);
  os::close_file(copy);
  os::close_file(fd);
  CHECK(fcntl(fd, F_GETFD) == -1);
  unlink(name);
  CHECK(os::create_file("/nonexistent/file") == -ENOENT);
}

TEST_CASE("what the kernel says about the process") {
  CHECK(os::page_size() == static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  CHECK(os::process_id() == getpid());
  CHECK(os::thread_id() == gettid());
  CHECK_FALSE(os::is_secure());
  CHECK(os::environment() == environ);
  CHECK(os::random_seed() == os::random_seed());
  const auto ram = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * os::page_size();
  CHECK(os::physical_memory() >= ram - ram / 50);
  CHECK(os::physical_memory() <= ram + ram / 50);
  CHECK(os::max_map_count() >= 1000);
  CHECK((os::overcommit_mode() >= 0 && os::overcommit_mode() <= 2));
  const uint64_t before = os::monotonic_ns();
  usleep(2000);
  const uint64_t passed = os::monotonic_ns() - before;
  CHECK((passed >= 2'000'000 && passed < 10'000'000'000));
}

TEST_CASE("the limit of the address space") {
  pm::test::in_fresh_process([] {
    rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    if (limit.rlim_cur == RLIM_INFINITY) EXPECT(os::address_space_limit() == UINT64_MAX);
    limit.rlim_cur = uint64_t{1} << 45;
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
    EXPECT(os::address_space_limit() == uint64_t{1} << 45);
  });
}

TEST_CASE("a generation is one process, however it was forked") {
  const uint64_t mine = os::process_generation();
  CHECK(mine != 0);
  CHECK(os::process_generation() == mine);
  const auto in_child = [&](pid_t child) {
    REQUIRE(child >= 0);
    if (child == 0) {
      const uint64_t own = os::process_generation();
      _exit(own != mine && own != 0 && os::process_generation() == own ? 0 : 1);
    }
    int status = 1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  };
  in_child(fork());
  in_child(static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr)));
  CHECK(os::process_generation() == mine);
}

}  // namespace
