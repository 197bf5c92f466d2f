// How the page layer fares with a day of large objects, for each fit policy: the layer is the real one, but the system
// under it is faked, so that no memory is used, and a simulated clock runs. Sizes are log-uniform from 64 KiB to
// 256 MiB, lifetimes exponential.
//
// Two loads. "held": the live set is held at 2 GiB; as many objects as are needed die to make room for the next one.
// "poisson": objects arrive at random and live for their time, so that the live set swings around 2 GiB by a quarter.
//
// Dirty memory counts as resident. Every object is written to as a whole.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "os/memory.h"
#include "page/decommit.h"
#include "page/page.h"
#include "page/shard.h"

namespace {

constexpr double kSmallest = 64.0 * 1024;
constexpr double kLargest = 256.0 * 1024 * 1024;
constexpr double kMeanSize = (kLargest - kSmallest) / 8.317766166719343;  // over ln(4096)

struct Settings {
  double hours = 24;
  double live = 2.0 * 1024 * 1024 * 1024;
  double lifetime = 60;  // seconds, mean
  uint64_t seed = 1;
};

// The window is granted without effect; the layer's tables are real.
const pm::os::MemoryFunctions* kernel = nullptr;
bool in_window(uintptr_t start) {
  return start - pm::region_view.base < size_t{pm::region.window_granules()} << pm::kGranuleShift;
}
void* reserve(uintptr_t hint, size_t bytes) {
  return hint != 0 ? reinterpret_cast<void*>(hint) : kernel->reserve(hint, bytes);
}
void release(uintptr_t start, size_t bytes) {
  if (!in_window(start)) kernel->release(start, bytes);
}
bool commit(uintptr_t start, size_t bytes) { return in_window(start) || kernel->commit(start, bytes); }
size_t decommit(const pm::os::PageRange* ranges, size_t count) {
  size_t bytes = 0;
  for (size_t i = 0; i < count; ++i) bytes += ranges[i].bytes;
  return bytes;
}

uint64_t simulated_ns = 1;
uint64_t simulated_clock() { return simulated_ns; }

struct Weighted {
  double sum = 0;
  double most = 0;
  void add(double value, double seconds) {
    sum += value * seconds;
    most = std::max(most, value);
  }
};

class Simulation {
 public:
  explicit Simulation(const Settings& settings) : settings_(settings), random_(settings.seed) {}

  void held() {
    while (now_ < end()) {
      const size_t bytes = next_size();
      while (!objects_.empty() && live_ + static_cast<double>(bytes) > settings_.live) {
        const size_t victim = std::uniform_int_distribution<size_t>(0, objects_.size() - 1)(random_);
        pass(exponential(settings_.lifetime / static_cast<double>(objects_.size())));
        free(objects_[victim]);
        objects_[victim] = objects_.back();
        objects_.pop_back();
        sample();
      }
      objects_.push_back(allocate(bytes));
      sample();
    }
  }

  void poisson() {
    const double interval = settings_.lifetime * kMeanSize / settings_.live;
    using Death = std::pair<double, Object>;
    const auto later = [](const Death& a, const Death& b) { return a.first > b.first; };
    std::priority_queue<Death, std::vector<Death>, decltype(later)> deaths(later);
    double arrival = 0;
    while (now_ < end()) {
      if (!deaths.empty() && deaths.top().first < arrival) {
        pass(deaths.top().first - now_);
        free(deaths.top().second);
        deaths.pop();
      } else {
        pass(arrival - now_);
        deaths.push({now_ + exponential(settings_.lifetime), allocate(next_size())});
        arrival = now_ + exponential(interval);
      }
      sample();
    }
  }

  void report(const char* fit, const char* load) const {
    pm::PageStatistics now;
    pm::page_collect(now);
    std::printf("%-8s %-8s %9.3f %9.3f %9.3f %9.3f %9.3f %10.2f %9.3f %9.0f\n", fit, load, fragmentation(),
                fragmentation_.sum / measured_,
                100.0 * static_cast<double>(now.extent_coalesced) /
                    static_cast<double>(std::max<uint64_t>(now.extent_coalescable, 1)),
                resident_.sum / live_bytes_.sum, resident_.most / live_bytes_.most,
                static_cast<double>(now.committed_bytes) / (1 << 30),
                static_cast<double>(now.decommitted_bytes) / allocated_, static_cast<double>(now.large_allocations));
  }

 private:
  struct Object {
    void* start;
    size_t bytes;
    bool operator<(const Object& other) const { return start < other.start; }
  };

  double end() const { return settings_.hours * 3600; }
  double exponential(double mean) { return std::exponential_distribution<double>(1 / mean)(random_); }
  size_t next_size() {
    const double r = std::uniform_real_distribution<double>(0, 1)(random_);
    return static_cast<size_t>(kSmallest * std::pow(kLargest / kSmallest, r));
  }

  Object allocate(size_t bytes) {
    void* const start = pm::allocate_large(bytes, pm::kGranuleBytes, false);
    if (start == nullptr) {
      std::fprintf(stderr, "fragmentation24: no memory for %zu bytes\n", bytes);
      std::exit(1);
    }
    live_ += static_cast<double>(bytes);
    allocated_ += static_cast<double>(bytes);
    return {start, bytes};
  }

  void free(const Object& object) {
    void* start = nullptr;
    if (pm::free_large(object.start, &start) != pm::FreeLarge::done) std::abort();
    live_ -= static_cast<double>(object.bytes);
  }

  // What was sampled last holds until now.
  void pass(double seconds) {
    now_ += seconds;
    simulated_ns = 1 + static_cast<uint64_t>(now_ * 1e9);
    // The first half hour fills the heap.
    if (now_ < std::min(1800.0, end() / 4)) return;
    measured_ += seconds;
    live_bytes_.add(live_, seconds);
    resident_.add(resident_now_, seconds);
    fragmentation_.add(fragmentation(), seconds);
  }

  void sample() {
    uint64_t free = 0;
    uint64_t dirty = 0;
    uint32_t largest = 0;
    for (pm::Shard& shard : pm::shards) {
      free += shard.extents.free_granules();
      dirty += shard.extents.dirty_granules();
      largest = std::max(largest, shard.extents.largest_granules());
    }
    // Live objects are counted by their bytes, as their last granule's tail is not touched.
    resident_now_ = live_ + static_cast<double>(dirty << pm::kGranuleShift);
    free_ = static_cast<double>(free);
    largest_ = largest;
  }
  double fragmentation() const { return free_ == 0 ? 0 : 1 - largest_ / free_; }

  const Settings settings_;
  std::mt19937_64 random_;
  std::vector<Object> objects_;
  double now_ = 0;
  double measured_ = 0;
  double live_ = 0;
  double allocated_ = 0;
  double resident_now_ = 0;
  double free_ = 0;
  double largest_ = 0;
  Weighted live_bytes_, resident_, fragmentation_;
};

// The layer starts once in a process.
bool run(const Settings& settings, const char* name, pm::Fit fit, bool poisson) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {
    static pm::os::MemoryFunctions faked = pm::os::memory();
    static const pm::os::MemoryFunctions real = faked;
    kernel = &real;
    faked.reserve = reserve;
    faked.release = release;
    faked.commit = commit;
    faked.decommit = decommit;
    pm::os::set_memory_functions(&faked);
    pm::set_decommit_clock(simulated_clock);
    pm::PageOptions options = {};
    options.dirty_bytes = 32 * pm::kMiB;
    options.huge = pm::HugeMode::never;
    options.fit = fit;
    if (!pm::page_init(options)) _exit(1);
    Simulation simulation(settings);
    poisson ? simulation.poisson() : simulation.held();
    pm::page_audit();
    simulation.report(name, poisson ? "poisson" : "held");
    std::fflush(stdout);
    _exit(0);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace

int main(int count, char** words) {
  Settings settings;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const char* const value = i + 1 < count ? words[i + 1] : "";
    if (word == "--smoke") {
      settings.hours = 0.2;
    } else if (word == "--hours" && *value != 0) {
      settings.hours = std::atof(words[++i]);
    } else if (word == "--lifetime" && *value != 0) {
      settings.lifetime = std::atof(words[++i]);
    } else if (word == "--seed" && *value != 0) {
      settings.seed = std::strtoull(words[++i], nullptr, 10);
    } else {
      std::fprintf(stderr, "usage: %s [--smoke] [--hours N] [--lifetime SECONDS] [--seed N]\n", words[0]);
      return 2;
    }
  }
  if (settings.hours <= 0 || settings.lifetime <= 0) return 2;
  std::printf(
      "# frag: 1 - largest/total of the free extents, at the end and mean; joined: %% of frees beside a free\n"
      "# extent that coalesced at once; rss: resident over live, mean over mean and peak over peak; commit: GiB of\n"
      "# address space in use; given: decommitted over allocated bytes\n"
      "%-8s %-8s %9s %9s %9s %9s %9s %10s %9s %9s\n",
      "fit", "load", "frag_end", "frag_mean", "joined", "rss_mean", "rss_peak", "commit", "given", "objects");
  bool good = true;
  for (const bool poisson : {false, true}) {
    good = run(settings, "best", pm::Fit::best, poisson) && good;
    good = run(settings, "first", pm::Fit::first, poisson) && good;
    good = run(settings, "worst", pm::Fit::worst, poisson) && good;
    good = run(settings, "address", pm::Fit::address, poisson) && good;
  }
  return good ? 0 : 1;
}
