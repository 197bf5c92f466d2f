#include "os/thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/bits.h"
#include "base/compiler.h"
#include "base/lock.h"
#include "os/cpu.h"
#include "os/process.h"
#include "os/syscall.h"
#include "tests/unit/fresh_process.h"

extern "C" char __libc_single_threaded __attribute__((weak));

namespace {

using namespace pm;
using pm::test::in_fresh_process;

constexpr uint64_t kSecond = 1'000'000'000;

// Set by what runs in the thread, read after it ended.
struct Seen {
  std::atomic<uint32_t> step;
  int process, thread;
  uint64_t blocked;
  char name[16];
  uint32_t held, cpu;
  bool opened, no_files;
  int policy;
  long borrowed;
};

struct Fixture {
  os::ThreadMemory memory = os::map_thread_memory(sizeof(Seen));
  os::RawThread& thread = *memory.thread;
  Seen& seen = *static_cast<Seen*>(memory.kept);
};

// False where there are no such threads: on other machines, and under a sanitizer.
bool start(Fixture& f, void (*run)(void*)) {
  const long result = os::start_thread(f.thread, "poolmalloc", run, &f);
  EXPECT(result == 0 || result == -ENOSYS);
  return result == 0;
}

void look_around(void* argument) {
  auto& f = *static_cast<Fixture*>(argument);
  Seen& seen = f.seen;
  seen.process = os::process_id();
  seen.thread = os::thread_id();
  os::raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, os::argument(&seen.blocked), sizeof seen.blocked);
  char name[32] = {};
  os::read_small_file("/proc/thread-self/comm", name, sizeof name);
  memcpy(seen.name, name, sizeof seen.name);
  Lock lock(LockRank::options);
  lock.lock();
  seen.held = locks_held;
  lock.unlock();
  seen.cpu = os::rseq_cpu_id();
  seen.opened = os::monotonic_ns() > 0 && os::thread_cpu_ns() > 0;
  seen.no_files = os::raw_syscall(SYS_fcntl, 0, F_GETFD) == -EBADF;
  seen.policy = static_cast<int>(os::raw_syscall(SYS_sched_getscheduler, 0));
  errno = 7;  // has a place
  seen.step.store(1, std::memory_order_release);
}

TEST_CASE("a raw thread has what ours need, and the C library does not see it") {
  in_fresh_process([] {
    Fixture f;
    EXPECT(f.memory.thread != nullptr && address_of(&f.thread) % 64 == 0);
    bool mm_cid = false;
    os::start_rseq(true, false, &mm_cid);
    // ThreadSanitizer's run time has a thread of its own.
    const bool single = PM_SANITIZED || &__libc_single_threaded == nullptr || __libc_single_threaded != 0;
    EXPECT(single && !os::is_running(f.thread));
    errno = 5;
    if (!start(f, look_around)) return;
    EXPECT(os::join_thread(f.thread, 10 * kSecond) && !os::is_running(f.thread));
    EXPECT(f.seen.step == 1 && errno == 5);
    EXPECT(f.seen.process == getpid() && f.seen.thread != getpid());
    EXPECT(~f.seen.blocked == (uint64_t{1} << (SIGKILL - 1) | uint64_t{1} << (SIGSTOP - 1)));
    EXPECT(strcmp(f.seen.name, "poolmalloc\n") == 0);
    EXPECT(f.seen.held == 1 && locks_held == 0 && f.seen.cpu == os::kNoCpu);
    EXPECT(f.seen.opened && f.seen.policy == SCHED_OTHER);
    EXPECT(f.seen.no_files == f.thread.own_files);
    EXPECT(&__libc_single_threaded == nullptr || __libc_single_threaded != 0);
    // The signals of the starter are as they were.
    sigset_t mask;
    EXPECT(sigprocmask(SIG_BLOCK, nullptr, &mask) == 0 && sigismember(&mask, SIGUSR1) == 0);
    // Again, with the same memory.
    f.seen.step = 0;
    EXPECT(start(f, look_around) && os::join_thread(f.thread, 10 * kSecond) && f.seen.step == 1);
  });
}

void wait_for_the_word(void* argument) {
  auto& f = *static_cast<Fixture*>(argument);
  while (f.seen.step.load() == 0) os::wait_on(f.seen.step, 0, 20 * kSecond);
}

TEST_CASE("one at a time; it sleeps until it is woken") {
  in_fresh_process([] {
    Fixture f;
    if (!start(f, wait_for_the_word)) return;
    EXPECT(os::is_running(f.thread));
    EXPECT(os::start_thread(f.thread, "second", wait_for_the_word, &f) == -EBUSY);
    EXPECT(!os::join_thread(f.thread, 1'000'000));
    f.seen.step = 1;
    os::wake_all(f.seen.step);
    EXPECT(os::join_thread(f.thread, 10 * kSecond));
  });
}

TEST_CASE("a forked child has no thread and finds its memory empty") {
  in_fresh_process([] {
    Fixture f;
    if (!start(f, wait_for_the_word)) return;
    f.seen.process = 42;
    const pid_t child = fork();
    if (child == 0) {
      if (f.memory.wiped) {
        EXPECT(!os::is_running(f.thread) && f.seen.process == 0);
        f.seen.step = 0;
        EXPECT(start(f, look_around) && os::join_thread(f.thread, 10 * kSecond) && f.seen.process == getpid());
      }
      _exit(0);
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(os::is_running(f.thread));
    f.seen.step = 1;
    os::wake_all(f.seen.step);
    EXPECT(os::join_thread(f.thread, 10 * kSecond));
  });
}

void borrow(void* argument) {
  auto& f = *static_cast<Fixture*>(argument);
  const int fd = os::borrow_file(f.thread, static_cast<int>(f.seen.borrowed));
  const uint64_t one = 1;
  f.seen.borrowed = fd < 0 ? fd : os::write_all(fd, reinterpret_cast<const char*>(&one), sizeof one);
}

TEST_CASE("it can borrow one of the program's files, and holds no other open") {
  in_fresh_process([] {
    Fixture f;
    const int fd = eventfd(0, EFD_NONBLOCK);
    f.seen.borrowed = fd;
    if (!start(f, borrow)) return;
    EXPECT(os::join_thread(f.thread, 10 * kSecond));
    if (f.seen.borrowed == -ENOSYS || f.seen.borrowed == -EPERM) return;
    EXPECT(f.seen.borrowed == 0);
    uint64_t value = 0;
    EXPECT(read(fd, &value, sizeof value) == sizeof value && value == 1);
    // A pipe whose ends the program closes is at its end, though the thread was started while it was open.
    int ends[2];
    EXPECT(pipe(ends) == 0);
    f.seen.step = 0;
    EXPECT(start(f, wait_for_the_word));
    while (f.thread.filters == 0 && !f.thread.own_files && os::is_running(f.thread)) usleep(1000);
    close(ends[1]);
    char c;
    EXPECT(read(ends[0], &c, 1) == 0);
    f.seen.step = 1;
    os::wake_all(f.seen.step);
    EXPECT(os::join_thread(f.thread, 10 * kSecond));
  });
}

void watch_its_place(void* argument) {
  auto& f = *static_cast<Fixture*>(argument);
  f.seen.opened = os::place_of(f.thread) == os::Place::same;
  f.seen.step.store(1);
  while (os::place_of(f.thread) == os::Place::same) os::wait_on(f.seen.step, 9, 1'000'000);
  f.seen.policy = static_cast<int>(os::place_of(f.thread));
}

TEST_CASE("it goes when the program changes its user") {
  in_fresh_process([] {
    if (getuid() != 0) return;  // nobody else may
    Fixture f;
    if (!start(f, watch_its_place)) return;
    while (f.seen.step == 0) usleep(1000);
    EXPECT(f.seen.opened && os::is_running(f.thread));
    EXPECT(setuid(65534) == 0);
    EXPECT(os::join_thread(f.thread, 10 * kSecond));
    EXPECT(f.seen.policy == static_cast<int>(os::Place::other_user));
  });
}

TEST_CASE("it does not keep a process alive whose threads have all ended") {
  const pm::test::Outcome outcome = pm::test::run_in_child([] {
    static Fixture f;
    if (!start(f, watch_its_place)) return;
    while (f.seen.step == 0) usleep(1000);
    EXPECT(f.seen.opened);
    syscall(SYS_exit, 6);  // of this thread alone: the C library is not asked
  });
  // The last thread's code is the process's, so it takes the first one's.
  CHECK((outcome.status == 6 << 8 || outcome.status == 0 /* without raw threads */));
}

}  // namespace
