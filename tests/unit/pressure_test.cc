// The pressure part of the public API: pressure.cc, notify.cc, guarded_call.cc.
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include "heap/heap.h"
#include "os/guarded_call.h"
#include "poolmalloc/poolmalloc.h"
#include "reclaim/alarm.h"
#include "reclaim/worker.h"
#include "runtime/runtime.h"
#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

template <typename Done>
bool eventually(Done done) {
  for (int i = 0; i < 1000 && !done(); ++i) usleep(10'000);
  return done();
}

unsigned long long metric(const char* name) {
  unsigned long long value = 0;
  EXPECT(pm_metric_get(name, &value) == 0);
  return value;
}

// Pressure by decree: far less is allowed than is in use, or far more.
void press() { EXPECT(pm_limit_set(1 << 20, 0) == 0); }
void relax() {
  EXPECT(pm_limit_set(0, 0) == 0);
  EXPECT(eventually([] { return pm_pressure_level() == PM_PRESSURE_CALM; }));
}

struct Heard {
  std::atomic<int> calls{0};
  std::atomic<int> level{0};
  std::atomic<size_t> wanted{0};
};

void hear(const pm_forecast* now, void* data) {
  auto* heard = static_cast<Heard*>(data);
  heard->level = now->level;
  heard->wanted = now->wanted_bytes;
  deallocate(allocate(100'000), nullptr);
  ++heard->calls;
}

TEST_CASE("levels and forecasts can be asked for") {
  in_fresh_process([] {
    if (!start_heap()) return;
    EXPECT(pm_pressure_level() >= PM_PRESSURE_CALM && pm_pressure_level() <= PM_PRESSURE_EMERGENCY);
    pm_forecast now;
    EXPECT(pm_forecast_get(&now) == 0);
    EXPECT(now.horizon[0].seconds == 30 && now.horizon[1].seconds == 60 && now.horizon[2].seconds == 120);
    EXPECT(now.confidence >= 0 && now.confidence <= 1 && now.limit_bytes > 0 && now.usage_bytes > 0);
    EXPECT(metric("worker_rounds") >= 1);
  });
}

TEST_CASE("a subscriber hears of its level and of higher ones, until it ends the subscription") {
  in_fresh_process([] {
    if (!start_heap()) return;
    static Heard moderate;
    static Heard emergency;
    const int first = pm_pressure_subscribe(PM_PRESSURE_MODERATE, hear, &moderate);
    const int second = pm_pressure_subscribe(PM_PRESSURE_EMERGENCY, hear, &emergency);
    EXPECT(first > 0 && second > 0 && first != second);
    if (worker_state() != WorkerState::running) return;
    press();
    EXPECT(eventually([] { return moderate.calls > 0 && emergency.calls > 0; }));
    EXPECT(moderate.level == PM_PRESSURE_EMERGENCY && moderate.wanted > 0);
    EXPECT(pm_pressure_level() == PM_PRESSURE_EMERGENCY && metric("callbacks") >= 2);
    EXPECT(pm_pressure_unsubscribe(first) == 0);
    relax();
    const int heard = moderate.calls;
    const int before = emergency.calls;
    press();
    EXPECT(eventually([&] { return emergency.calls > before; }));
    EXPECT(moderate.calls == heard);
    errno = 0;
    EXPECT(pm_pressure_unsubscribe(first) == -1 && errno == ENOENT);
    EXPECT(pm_pressure_unsubscribe(0) == -1 && pm_pressure_unsubscribe(second) == 0);
  });
}

TEST_CASE("what cannot be subscribed to") {
  in_fresh_process([] {
    errno = 0;
    EXPECT(pm_pressure_subscribe(PM_PRESSURE_CALM, hear, nullptr) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(pm_pressure_subscribe(static_cast<pm_pressure>(5), hear, nullptr) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(pm_pressure_subscribe(PM_PRESSURE_HIGH, nullptr, nullptr) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(pm_pressure_eventfd(PM_PRESSURE_CALM) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(pm_pressure_eventfd_close(5) == -1 && errno == EBADF);
    if (!start_heap()) return;
    static Heard heard;
    for (int i = 0; i < 32; ++i) EXPECT(pm_pressure_subscribe(PM_PRESSURE_HIGH, hear, &heard) > 0);
    errno = 0;
    EXPECT(pm_pressure_subscribe(PM_PRESSURE_HIGH, hear, &heard) == -1 && errno == ENOSPC);
  });
}

void sleep_long(const pm_forecast*, void* data) {
  ++static_cast<Heard*>(data)->calls;
  sleep(1000);
}

TEST_CASE("a callback that does not return is named, and the others are called") {
  const pm::test::Outcome outcome = pm::test::run_in_child([] {
    setenv("POOLMALLOC_CALLBACK_SECONDS", "1", 1);
    if (!start_heap()) return;
    static Heard stuck;
    static Heard other;
    const int id = pm_pressure_subscribe(PM_PRESSURE_HIGH, sleep_long, &stuck);
    pm_pressure_subscribe(PM_PRESSURE_HIGH, hear, &other);
    if (worker_state() != WorkerState::running) _exit(77);
    press();
    EXPECT(eventually([] { return other.calls > 0; }));
    EXPECT(stuck.calls == 1 && metric("callbacks_overdue") == 1);
    relax();
    const int before = other.calls;
    press();
    EXPECT(eventually([&] { return other.calls > before; }));
    EXPECT(stuck.calls == 1);
    EXPECT(pm_pressure_unsubscribe(id) == 0);
    _exit(3);
  });
  if (WEXITSTATUS(outcome.status) == 77 || outcome.status == 0) return;
  INFO(outcome.output);
  CHECK(WEXITSTATUS(outcome.status) == 3);
  CHECK(outcome.output.find("did not return within 1 s") != std::string::npos);
}

void leave_once(const pm_forecast*, void* data) {
  auto* heard = static_cast<Heard*>(data);
  if (heard->calls++ == 0) EXPECT(pm_pressure_unsubscribe(heard->level) == 0);
}

TEST_CASE("a callback may end its own subscription") {
  in_fresh_process([] {
    if (!start_heap()) return;
    static Heard heard;
    heard.level = pm_pressure_subscribe(PM_PRESSURE_HIGH, leave_once, &heard);
    if (worker_state() != WorkerState::running) return;
    press();
    EXPECT(eventually([] { return heard.calls == 1; }));
    relax();
    press();
    usleep(300'000);
    EXPECT(heard.calls == 1);
  });
}

void throw_it(const pm_forecast*, void* data) {
  const std::string text = "a callback that is too long for its string's own buffer";
  if (data != nullptr) throw std::runtime_error(text);
}

TEST_CASE("an exception stays inside the call") {
  pm_forecast now = {};
  int something = 0;
  CHECK(os::call_guarded(throw_it, &now, nullptr));
#if defined(__x86_64__)
  for (int i = 0; i < 100; ++i) CHECK(!os::call_guarded(throw_it, &now, &something));
  CHECK(std::uncaught_exceptions() == 0);
#endif
}

TEST_CASE("an event descriptor becomes readable, without any thread of the C library's") {
  in_fresh_process([] {
    if (!start_heap()) return;
    const int fd = pm_pressure_eventfd(PM_PRESSURE_HIGH);
    EXPECT(fd >= 0);
    if (worker_state() != WorkerState::running) return;
    pollfd entry = {fd, POLLIN, 0};
    EXPECT(poll(&entry, 1, 0) == 0);
    press();
    EXPECT(poll(&entry, 1, 10'000) == 1);
    uint64_t value = 0;
    EXPECT(read(fd, &value, sizeof value) == sizeof value && value >= 1);
    relax();
    while (read(fd, &value, sizeof value) > 0) {
    }
    press();
    EXPECT(poll(&entry, 1, 10'000) == 1);
    EXPECT(alarm_bell.listeners == 0 && metric("callbacks") == 0);
    EXPECT(pm_pressure_eventfd_close(fd) == 0 && pm_pressure_eventfd_close(fd) == -1);
    EXPECT(read(fd, &value, sizeof value) == -1 && errno == EBADF);
  });
}

TEST_CASE("subscriptions stay behind in a fork") {
  in_fresh_process([] {
    if (!start_heap()) return;
    static Heard heard;
    const int id = pm_pressure_subscribe(PM_PRESSURE_HIGH, hear, &heard);
    before_fork();
    const pid_t child = fork();
    if (child == 0) {
      after_fork_child();
      EXPECT(pm_pressure_unsubscribe(id) == -1 && alarm_bell.listeners == 0);
      const int mine = pm_pressure_subscribe(PM_PRESSURE_HIGH, hear, &heard);
      EXPECT(mine > 0);
      if (worker_state() == WorkerState::running) {
        press();
        EXPECT(eventually([] { return heard.calls > 0; }));
      }
      _exit(0);
    }
    after_fork_parent();
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(pm_pressure_unsubscribe(id) == 0);
  });
}

}  // namespace
