#include "runtime/notify.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "heap/heap.h"
#include "os/guarded_call.h"
#include "os/process.h"
#include "os/thread.h"
#include "reclaim/worker.h"
#include "runtime/runtime.h"

#define PM_API extern "C" __attribute__((visibility("default")))

namespace pm {
namespace {

constexpr unsigned kMost = 32;
constexpr uint64_t kSecond = 1'000'000'000;

struct Subscription {
  int id;  // 0: unused
  pm_pressure level;
  pm_pressure_callback callback;
  void* data;
  bool left;  // it did not return in time; not called again
};

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
// Guarded by mutex.
Subscription subscriptions[kMost] = {};
int next_id = 1;
bool started = false;
uint32_t generation = 0;   // of the thread that runs callbacks; an older one ends when its callback returns
unsigned running = kMost;  // index of the subscription whose callback runs
uint64_t running_since_ns = 0;
int running_thread = 0;

// What the watching thread sleeps on: the number of calls begun and ended.
std::atomic<uint32_t> calls{0};
std::atomic<uint64_t> called{0};
std::atomic<uint64_t> overdue{0};
std::atomic<uint64_t> patience_ns{5 * kSecond};  // relaxed: a setting

class Guard {
 public:
  Guard() { pthread_mutex_lock(&mutex); }
  ~Guard() { pthread_mutex_unlock(&mutex); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
};

void tell_watcher() {
  calls.fetch_add(1, std::memory_order_release);
  os::wake_all(calls);
}

// Calls the callback of subscription `index` if it is for this level. False: this thread was given up meanwhile.
bool call(unsigned index, const pm_forecast& now, uint32_t mine) {
  Subscription chosen;
  {
    const Guard guard;
    if (generation != mine) return false;
    chosen = subscriptions[index];
    if (chosen.id == 0 || chosen.left || chosen.level > now.level) return true;
    running = index;
    running_since_ns = os::monotonic_ns();
    running_thread = os::thread_id();
  }
  tell_watcher();
  called.fetch_add(1, std::memory_order_relaxed);
  if (!os::call_guarded(chosen.callback, &now, chosen.data)) {
    constexpr char kLine[] = "poolmalloc: a pressure callback threw an exception; it was dropped\n";
    os::write_all(2, kLine, sizeof kLine - 1);
  }
  const Guard guard;
  if (generation != mine) {
    // It came back after all.
    if (subscriptions[index].id == chosen.id) subscriptions[index].left = false;
    return false;
  }
  running = kMost;
  tell_watcher();
  return true;
}

bool describe_now(pm_forecast& out) {
  PressureView view;
  if (!pressure_view(view)) return false;
  describe_pressure(view, out);
  // An allocation that met the limit knows more than the last round did.
  const auto level = static_cast<pm_pressure>(alarm_bell.level.load(std::memory_order_relaxed));
  if (level > out.level) out.level = level;
  const uint64_t wanted = alarm_bell.wanted_bytes.load(std::memory_order_relaxed);
  if (wanted > out.wanted_bytes) out.wanted_bytes = wanted;
  return true;
}

void* run_callbacks(void* argument) {
  const auto mine = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(argument));
  alarm_bell.listening_thread.store(os::thread_id(), std::memory_order_relaxed);
  for (;;) {
    // Acquire pairs with the release of whoever rang.
    const uint32_t rung = alarm_bell.rung.load(std::memory_order_acquire);
    if (rung == alarm_bell.answered.load(std::memory_order_relaxed)) {
      os::wait_on(alarm_bell.rung, rung, 3600 * kSecond);
      continue;
    }
    pm_forecast now;
    if (describe_now(now)) {
      for (unsigned i = 0; i < kMost; ++i) {
        if (!call(i, now, mine)) return nullptr;
      }
    }
    alarm_bell.answered.store(rung, std::memory_order_release);
    os::wake_all(alarm_bell.answered);
  }
}

bool start_thread_of_ours(void* (*run)(void*), uintptr_t argument) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const bool created = pthread_create(&thread, nullptr, run, reinterpret_cast<void*>(argument)) == 0;
  if (created) pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return created;
}

// The call that runs has had its time: names it, and has another thread go on with the others.
void give_up_on(unsigned index) {
  char line[160];
  TextWriter out(line);
  out.text("poolmalloc: a pressure callback (").hex(reinterpret_cast<uintptr_t>(subscriptions[index].callback));
  out.text(") did not return within ")
      .number(patience_ns.load(std::memory_order_relaxed) / kSecond)
      .text(" s; going on without it\n");
  os::write_all(2, out.data(), out.size());
  overdue.fetch_add(1, std::memory_order_relaxed);
  subscriptions[index].left = true;
  running = kMost;
  ++generation;
  start_thread_of_ours(run_callbacks, generation);
}

void* watch(void*) {
  for (;;) {
    const uint32_t seen = calls.load(std::memory_order_acquire);
    uint64_t wait_ns = 3600 * kSecond;
    {
      const Guard guard;
      const uint64_t now = os::monotonic_ns();
      if (running != kMost) {
        const uint64_t deadline = running_since_ns + patience_ns.load(std::memory_order_relaxed);
        wait_ns = deadline > now ? deadline - now : 0;
        if (wait_ns == 0) give_up_on(running);
      }
    }
    if (wait_ns != 0) os::wait_on(calls, seen, wait_ns);
  }
}

// With the mutex held.
bool start_threads() {
  if (started) return true;
  started = start_thread_of_ours(run_callbacks, generation) && start_thread_of_ours(watch, 0);
  return started;
}

}  // namespace

NotifyStatistics notify_statistics() {
  return {called.load(std::memory_order_relaxed), overdue.load(std::memory_order_relaxed)};
}

PM_START void set_callback_seconds(uint64_t seconds) {
  patience_ns.store(seconds * kSecond, std::memory_order_relaxed);
}

void notify_after_fork_child() {
  alarm_after_fork_child();
  const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
  memcpy(&mutex, &fresh, sizeof fresh);
  for (Subscription& subscription : subscriptions) subscription = {};
  started = false;
  running = kMost;
}

}  // namespace pm

PM_API int pm_pressure_subscribe(enum pm_pressure level, pm_pressure_callback callback, void* data) {
  if (level < PM_PRESSURE_MODERATE || level > PM_PRESSURE_EMERGENCY || callback == nullptr) {
    errno = EINVAL;
    return -1;
  }
  if (!pm::start_heap() || !pm::worker_want()) {
    errno = ENOSYS;
    return -1;
  }
  const pm::Guard guard;
  for (pm::Subscription& subscription : pm::subscriptions) {
    if (subscription.id != 0) continue;
    if (!pm::start_threads()) {
      errno = EAGAIN;
      return -1;
    }
    subscription = {pm::next_id++, level, callback, data, false};
    pm::alarm_bell.listeners.fetch_add(1, std::memory_order_relaxed);
    return subscription.id;
  }
  errno = ENOSPC;
  return -1;
}

PM_API int pm_pressure_unsubscribe(int id) {
  for (;;) {
    {
      const pm::Guard guard;
      unsigned index = 0;
      while (index < pm::kMost && (id == 0 || pm::subscriptions[index].id != id)) ++index;
      if (index == pm::kMost) {
        errno = ENOENT;
        return -1;
      }
      // A callback that runs is waited for, unless it is the one that calls here.
      if (pm::running != index || pm::running_thread == pm::os::thread_id()) {
        pm::subscriptions[index] = {};
        pm::alarm_bell.listeners.fetch_sub(1, std::memory_order_relaxed);
        return 0;
      }
    }
    pm::os::wait_on(pm::calls, pm::calls.load(std::memory_order_relaxed), 10'000'000);
  }
}
