// Linked into a workload's program, with the linker's --wrap, to time each of its calls to the allocator: a second
// program beside the untimed one, which stays as it is. What libraries call by themselves is not timed.
//
// At exit a line of JSON tells p50 to p99.99 and the worst of what allocates and of what frees, in nanoseconds, clock
// included (clock_ns). With BENCH_TRIM set, another thread makes the allocator give memory back, again and again: by
// pm_trim, or the way that the peers have for it.
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <new>

#include "../workloads/harness.h"
#include "histogram.h"
#include "ticks.h"

namespace {

// Threads share a few histograms: a program may start thousands. Recording comes after the second look at the clock.
constexpr uint32_t kShares = 16;
struct alignas(64) Times {
  bench::Histogram allocate, free;
};
Times shares[kShares];
std::atomic<uint32_t> threads{0};
thread_local Times* mine = nullptr;

Times& times() {
  if (mine == nullptr) mine = &shares[threads.fetch_add(1, std::memory_order_relaxed) % kShares];
  return *mine;
}

template <typename Call>
auto timed_allocation(Call call) {
  const uint64_t start = bench::ticks();
  const auto result = call();
  const uint64_t spent = bench::ticks() - start;
  times().allocate.record_shared(spent);
  return result;
}

template <typename Call>
void timed_free(Call call) {
  const uint64_t start = bench::ticks();
  call();
  const uint64_t spent = bench::ticks() - start;
  times().free.record_shared(spent);
}

// How an allocator is told to give back what it can; the first that is there.
class Trim {
 public:
  Trim() {
    trim_ = find<size_t (*)(size_t)>("pm_trim");
    if (trim_ == nullptr) mallctl_ = find<int (*)(const char*, void*, size_t*, void*, size_t)>("mallctl");
    if (trim_ == nullptr && mallctl_ == nullptr) collect_ = find<void (*)(bool)>("mi_collect");
    if (trim_ == nullptr && mallctl_ == nullptr && collect_ == nullptr) {
      release_ = find<void (*)()>("MallocExtension_ReleaseFreeMemory");
      command_ = find<int (*)(int, void*)>("scalable_allocation_command");
      libc_ = find<int (*)(size_t)>("malloc_trim");
    }
  }

  void operator()() const {
    constexpr int kCleanAllBuffers = 0;
    if (trim_ != nullptr)
      trim_(SIZE_MAX);
    else if (mallctl_ != nullptr)
      mallctl_("arena.4096.purge", nullptr, nullptr, nullptr, 0);
    else if (collect_ != nullptr)
      collect_(true);
    else if (release_ != nullptr)
      release_();
    else if (command_ != nullptr)
      command_(kCleanAllBuffers, nullptr);
    else if (libc_ != nullptr)
      libc_(0);
  }

 private:
  template <typename Function>
  static Function find(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
  }

  size_t (*trim_)(size_t) = nullptr;
  int (*mallctl_)(const char*, void*, size_t*, void*, size_t) = nullptr;
  void (*collect_)(bool) = nullptr;
  void (*release_)() = nullptr;
  int (*command_)(int, void*) = nullptr;
  int (*libc_)(size_t) = nullptr;
};

std::atomic<uint64_t> trims{0};
uint64_t first_ticks = 0;
timespec first_time = {};

void* trim_again_and_again(void*) {
  const Trim trim;
  for (;;) {
    trim();
    trims.fetch_add(1, std::memory_order_relaxed);
    const timespec pause = {0, 1'000'000};
    nanosleep(&pause, nullptr);
  }
}

[[gnu::constructor]] void begin() {
  clock_gettime(CLOCK_MONOTONIC, &first_time);
  first_ticks = bench::ticks();
  pthread_t thread;
  if (std::getenv("BENCH_TRIM") != nullptr) {
    bench::check(pthread_create(&thread, nullptr, trim_again_and_again, nullptr) == 0, "pthread_create");
  }
}

double ticks_per_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const double ns =
      static_cast<double>(now.tv_sec - first_time.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec - first_time.tv_nsec);
  return static_cast<double>(bench::ticks() - first_ticks) / ns;
}

void print(const char* call, const bench::Histogram& histogram, double rate) {
  constexpr struct {
    const char* name;
    double part;
  } kQuantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};
  std::printf(",\"%s_calls\":%llu", call, static_cast<unsigned long long>(histogram.total()));
  for (const auto& quantile : kQuantiles) {
    const double value = static_cast<double>(histogram.quantile(quantile.part));
    std::printf(",\"%s_%s_ns\":%.1f", call, quantile.name, value / rate);
  }
  std::printf(",\"%s_worst_ns\":%.1f", call, static_cast<double>(histogram.worst()) / rate);
}

[[gnu::destructor]] void report() {
  static Times all;
  for (const Times& one : shares) {
    all.allocate.merge(one.allocate);
    all.free.merge(one.free);
  }
  const double rate = ticks_per_ns();
  static bench::Histogram clock;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t start = bench::ticks();
    clock.record(bench::ticks() - start);
  }
  std::printf("{\"clock_ns\":%.1f,\"trims\":%llu", static_cast<double>(clock.quantile(0.5)) / rate,
              static_cast<unsigned long long>(trims.load()));
  print("malloc", all.allocate, rate);
  print("free", all.free, rate);
  std::printf("}\n");
  std::fflush(stdout);
}

}  // namespace

// The linker sends the program's calls to __wrap_X, and those of this file to __real_X to the allocator.
#define WRAP_ALLOCATION(result, name, parameters, arguments)          \
  extern "C" result __real_##name parameters;                         \
  extern "C" result __wrap_##name parameters;                         \
  extern "C" result __wrap_##name parameters {                        \
    return timed_allocation([&] { return __real_##name arguments; }); \
  }
#define WRAP_FREE(name, parameters, arguments)    \
  extern "C" void __real_##name parameters;       \
  extern "C" void __wrap_##name parameters;       \
  extern "C" void __wrap_##name parameters {      \
    timed_free([&] { __real_##name arguments; }); \
  }

WRAP_ALLOCATION(void*, malloc, (size_t n), (n))
WRAP_ALLOCATION(void*, calloc, (size_t n, size_t size), (n, size))
WRAP_ALLOCATION(void*, realloc, (void* p, size_t n), (p, n))
WRAP_ALLOCATION(void*, aligned_alloc, (size_t alignment, size_t n), (alignment, n))
WRAP_ALLOCATION(int, posix_memalign, (void** p, size_t alignment, size_t n), (p, alignment, n))
WRAP_ALLOCATION(void*, _Znwm, (size_t n), (n))
WRAP_ALLOCATION(void*, _Znam, (size_t n), (n))
WRAP_ALLOCATION(void*, _ZnwmSt11align_val_t, (size_t n, std::align_val_t alignment), (n, alignment))
WRAP_FREE(free, (void* p), (p))
WRAP_FREE(_ZdlPv, (void* p), (p))
WRAP_FREE(_ZdaPv, (void* p), (p))
WRAP_FREE(_ZdlPvm, (void* p, size_t n), (p, n))
WRAP_FREE(_ZdaPvm, (void* p, size_t n), (p, n))
WRAP_FREE(_ZdlPvSt11align_val_t, (void* p, std::align_val_t alignment), (p, alignment))
WRAP_FREE(_ZdlPvmSt11align_val_t, (void* p, size_t n, std::align_val_t alignment), (p, n, alignment))
