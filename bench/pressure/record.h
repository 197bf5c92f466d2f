// What a program under pressure writes down as it goes, in files mapped by everybody concerned: a kill takes the
// process, not what it has written. scripts/pressure reads them; bench/pressure/run.py knows the same layout.
#pragma once

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdint>

#include "../workloads/harness.h"
#include "poolmalloc/poolmalloc.h"

namespace bench {

// Maps the file, made longer if need be; nothing of it lies in the heap that is measured.
inline void* map_file(const char* path, size_t size) {
  const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct stat status = {};
  check(file >= 0 && fstat(file, &status) == 0, "opening a record file");
  if (static_cast<size_t>(status.st_size) < size) check(ftruncate(file, static_cast<off_t>(size)) == 0, "ftruncate");
  void* place = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  check(place != MAP_FAILED, "mapping a record file");
  close(file);
  return place;
}

// Live memory of all processes of a scenario. Nobody grows beyond what they may have together, so "live memory fits" is
// a fact of the scenario and not a hope about timing.
class Budget {
 public:
  // Without a path the budget is this process's own and never ends.
  Budget(const char* path, double bytes) : limit_(bytes > 0 ? static_cast<uint64_t>(bytes) : UINT64_MAX) {
    if (*path != '\0') total_ = static_cast<std::atomic<uint64_t>*>(map_file(path, sizeof *total_));
  }

  // relaxed: a count; no data is handed over by it
  bool take(uint64_t bytes) {
    if (total_->fetch_add(bytes, std::memory_order_relaxed) + bytes <= limit_) return true;
    give(bytes);
    return false;
  }
  void give(uint64_t bytes) { total_->fetch_sub(bytes, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> own_{0};
  std::atomic<uint64_t>* total_ = &own_;
  uint64_t limit_;
};

// What the preloaded allocator offers beyond malloc; null under the peers, which do not have it.
template <typename Function>
Function* offered(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

struct Sample {
  double seconds;
  double resident_bytes;
  double live_bytes;
  double level;             // enum pm_pressure, or -1 where nobody says
  double seconds_to_limit;  // forecast, or -1
};

// Resident and live memory, at most every 20 ms, and the integrals of both.
class Recorder {
 public:
  Recorder(const char* path, double seconds) : most_(static_cast<size_t>(seconds * 50 * 2) + 100) {
    const size_t size = most_ * sizeof(Sample);
    void* place = *path != '\0' ? map_file(path, size)
                                : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(place != MAP_FAILED, "mapping samples");
    samples_ = static_cast<Sample*>(place);
    statm_ = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    check(statm_ >= 0, "opening statm");
  }

  // From now on samples hold what the allocator's forecast says, if it has one.
  void watch() { forecast_get_ = offered<decltype(pm_forecast_get)>("pm_forecast_get"); }

  void sample(double now, uint64_t live, bool always = false) {
    if ((!always && now - last_.seconds < 0.02) || count_ == most_) return;
    Sample next = {now > 0 ? now : 1e-9, resident(), static_cast<double>(live), -1, -1};
    pm_forecast forecast;
    if (forecast_get_ != nullptr && forecast_get_(&forecast) == 0) {
      next.level = forecast.level;
      if (forecast.seconds_to_limit != PM_NEVER) next.seconds_to_limit = forecast.seconds_to_limit;
    }
    if (count_ > 0) {
      resident_integral_ += (next.resident_bytes + last_.resident_bytes) / 2 * (now - last_.seconds);
      live_integral_ += (next.live_bytes + last_.live_bytes) / 2 * (now - last_.seconds);
    }
    peak_ = next.resident_bytes > peak_ ? next.resident_bytes : peak_;
    // The time last: a sample with a time is complete.
    const double time = next.seconds;
    next.seconds = 0;
    samples_[count_] = next;
    std::atomic_signal_fence(std::memory_order_release);
    samples_[count_++].seconds = next.seconds = time;
    last_ = next;
  }

  double resident_integral() const { return resident_integral_; }
  double live_integral() const { return live_integral_; }
  double peak() const { return peak_; }

 private:
  double resident() const {
    char text[128];
    const ssize_t length = pread(statm_, text, sizeof text - 1, 0);
    check(length > 0, "reading statm");
    text[length] = '\0';
    const char* second = std::strchr(text, ' ');
    check(second != nullptr, "reading statm");
    return static_cast<double>(std::strtoul(second, nullptr, 10)) * 4096;
  }

  decltype(pm_forecast_get)* forecast_get_ = nullptr;
  Sample* samples_ = nullptr;
  size_t most_;
  size_t count_ = 0;
  Sample last_ = {-1, 0, 0, -1, -1};
  double resident_integral_ = 0;
  double live_integral_ = 0;
  double peak_ = 0;
  int statm_ = -1;
};

inline double monotonic() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

inline void sleep_until(double moment) {
  timespec time = {};
  time.tv_sec = static_cast<time_t>(moment);
  time.tv_nsec = static_cast<long>((moment - static_cast<double>(time.tv_sec)) * 1e9);
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
}

}  // namespace bench
