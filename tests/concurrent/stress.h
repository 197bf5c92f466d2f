// What the stress programs share: how long they run, threads that are interrupted and moved about, and a table that
// says of every address whether the program owns the object there, so that an object handed out twice is seen at once.
//
// The checks are expect.h's: they report and end the process, from any thread and whatever state the heap is in.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "os/cpu.h"
#include "os/process.h"
#include "page/page.h"
#include "slab/slab.h"
#include "tests/expect.h"
#include "tests/window.h"

namespace pm::stress {

inline constexpr int kSkipped = 77;

// POOLMALLOC_STRESS_SECONDS, or `otherwise`.
inline double seconds(double otherwise) {
  const char* const text = getenv("POOLMALLOC_STRESS_SECONDS");
  return text != nullptr ? strtod(text, nullptr) : otherwise;
}

class Deadline {
 public:
  explicit Deadline(double seconds) : end_(os::monotonic_ns() + static_cast<uint64_t>(seconds * 1e9)) {}
  bool passed() const { return os::monotonic_ns() >= end_; }

 private:
  uint64_t end_;
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15U + 1) {}
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((next_random(&state_) >> 16) % n); }
  bool one_in(uint32_t n) { return below(n) == 0; }

 private:
  uint64_t state_;
};

inline void start_pages(uint64_t window, uint64_t dirty_bytes) {
  EXPECT(page_init({.reserve_bytes = window, .dirty_bytes = dirty_bytes, .huge = HugeMode::automatic}));
  test::place_window();
}

// Of each 16 bytes of the region's first `bytes`: whether an object that starts there is the program's.
class Owners {
 public:
  explicit Owners(size_t bytes) : count_(bytes / kSizeStep) {
    void* const table =
        mmap(nullptr, count_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT(table != MAP_FAILED);
    taken_ = static_cast<std::atomic<uint8_t>*>(table);
  }

  // The allocator hands p out.
  void take(const void* p) { EXPECT(entry(p).exchange(1, std::memory_order_relaxed) == 0); }
  // p is about to go back.
  void give(const void* p) { EXPECT(entry(p).exchange(0, std::memory_order_relaxed) == 1); }

 private:
  std::atomic<uint8_t>& entry(const void* p) {
    const size_t index = (address_of(p) - address_of(region.address(region.first_granule()))) / kSizeStep;
    EXPECT(p != nullptr && index < count_);
    return taken_[index];
  }

  std::atomic<uint8_t>* taken_;
  size_t count_;
};

// Writes at both ends of an object, so that objects that overlap are noticed although they start at different
// addresses.
inline void stamp(void* p, size_t bytes) {
  const uint64_t mark = address_of(p) * 0x9e3779b97f4a7c15U;
  memcpy(p, &mark, sizeof mark);
  memcpy(static_cast<char*>(p) + bytes - sizeof mark, &mark, sizeof mark);
}

inline bool has_stamp(const void* p, size_t bytes) {
  const uint64_t mark = address_of(p) * 0x9e3779b97f4a7c15U;
  return memcmp(p, &mark, sizeof mark) == 0 &&
         memcmp(static_cast<const char*>(p) + bytes - sizeof mark, &mark, sizeof mark) == 0;
}

// A few places through which threads pass objects on.
class Exchange {
 public:
  // Leaves p (or nothing) and takes what lay there.
  void* swap(uint32_t at, void* p) { return places_[at % kPlaces].exchange(p, std::memory_order_acq_rel); }
  template <typename Use>
  void empty(Use use) {
    for (std::atomic<void*>& place : places_) {
      if (void* const p = place.exchange(nullptr, std::memory_order_acq_rel)) use(p);
    }
  }

 private:
  static constexpr uint32_t kPlaces = 64;
  std::atomic<void*> places_[kPlaces] = {};
};

// Signals that found their thread inside a restartable sequence, which the kernel thereupon aborted: it sets the
// instruction pointer to the abort handler before it builds the signal's frame, and the signature stands before that.
inline std::atomic<uint64_t> aborts{0};

inline void count_abort(int, siginfo_t*, void* context) {
#if defined(__x86_64__)
  const auto at = static_cast<uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  uint32_t before = 0;
  memcpy(&before, reinterpret_cast<const char*>(at) - sizeof before, sizeof before);
  if (before == os::kRseqSignature) aborts.fetch_add(1, std::memory_order_relaxed);
#else
  static_cast<void>(context);
#endif
}

// Runs body(0) ... body(n - 1), each in a thread, and until they return interrupts them, moves them to other CPUs and
// calls meanwhile() again and again. `disturb` false leaves the threads alone.
template <typename Body, typename Meanwhile>
void run_threads(unsigned n, bool disturb, Body body, Meanwhile meanwhile) {
  struct sigaction action = {};
  action.sa_sigaction = count_abort;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);

  std::atomic<unsigned> running{n};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < n; ++i) {
    threads.emplace_back([&, i] {
      body(i);
      running.fetch_sub(1, std::memory_order_release);
    });
  }
  cpu_set_t everywhere;
  sched_getaffinity(0, sizeof everywhere, &everywhere);
  std::thread disturber([&] {
    Random random(n);
    while (disturb && running.load(std::memory_order_acquire) > 0) {
      const pthread_t victim = threads[random.below(n)].native_handle();
      pthread_kill(victim, SIGUSR1);
      if (random.one_in(4)) {
        cpu_set_t cpus = everywhere;
        const auto cpu = static_cast<int>(random.below(static_cast<uint32_t>(os::possible_cpus())));
        if (!random.one_in(3) && CPU_ISSET(cpu, &everywhere)) {
          CPU_ZERO(&cpus);
          CPU_SET(cpu, &cpus);
        }
        pthread_setaffinity_np(victim, sizeof cpus, &cpus);
      }
      usleep(random.below(100));
    }
  });
  while (running.load(std::memory_order_acquire) > 0) meanwhile();
  disturber.join();
  for (std::thread& thread : threads) thread.join();
}

// POOLMALLOC_STRESS_THREADS, or twice the CPUs, so that threads are preempted, and at least enough to meet.
inline unsigned many_threads() {
  const char* const text = getenv("POOLMALLOC_STRESS_THREADS");
  if (text != nullptr && atoi(text) > 0) return static_cast<unsigned>(atoi(text));
  const unsigned cpus = std::thread::hardware_concurrency();
  return cpus < 2 ? 4 : cpus > 8 ? 16 : 2 * cpus;
}

// When everything has been given back to the slabs: nothing was lost, and every slab can go.
inline void expect_no_object_outside() {
  static SlabClassStatistics rows[kMaxClasses];
  slab_collect(rows);
  for (const SlabClassStatistics& row : rows) EXPECT(row.free_slots == row.slots);
  slab_audit();
  slab_trim();
  EXPECT(slab_counters().created > 0);
  EXPECT(slab_counters().created == slab_counters().released);
  page_audit();
  PageStatistics pages;
  page_collect(pages);
  EXPECT(pages.slab_run_bytes == 0);
}

}  // namespace pm::stress
