// What a program under pressure cost, as fields of its JSON line: the same for every one of them, because
// scripts/pressure sums them over the processes of a scenario.
#pragma once

#include <sys/resource.h>

#include "../latency/histogram.h"
#include "../latency/ticks.h"
#include "record.h"

namespace bench {

inline double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// How long malloc took, and malloc with the first write to every byte: with what the kernel charges for fresh pages.
struct MallocTimes {
  Histogram malloc;
  Histogram touch;
  uint64_t refused = 0;

  // Null if the allocator refuses; else filled with `stamp`.
  char* make(size_t size, char stamp) {
    const uint64_t start = ticks();
    char* object = static_cast<char*>(std::malloc(size));
    malloc.record(ticks() - start);
    keep(object);
    if (object == nullptr) {
      ++refused;
      return nullptr;
    }
    std::memset(object, stamp, size);
    keep(object);
    touch.record(ticks() - start);
    return object;
  }
};

class Cost {
 public:
  Cost() : before_(usage()) {}

  // After workload.stop(). `work_seconds`: the thread's CPU time in units of work.
  void report(Workload& workload, const Recorder& recorder, const MallocTimes& times, uint64_t units,
              double work_seconds, double elapsed) const {
    const rusage after = usage();
    workload.field("rss_per_live", recorder.resident_integral() / recorder.live_integral());
    workload.field("peak_bytes", recorder.peak());
    workload.field("minor_faults", static_cast<double>(after.ru_minflt - before_.ru_minflt));
    workload.field("user", seconds(after.ru_utime) - seconds(before_.ru_utime));
    workload.field("system", seconds(after.ru_stime) - seconds(before_.ru_stime));
    workload.field("unit_us", work_seconds * 1e6 / static_cast<double>(units));
    workload.field("units_per_second", static_cast<double>(units) / elapsed);
    workload.field("mallocs", static_cast<double>(times.malloc.total()));
    workload.field("refused", static_cast<double>(times.refused));
    unsigned long long worker_ns = 0;
    auto* metric = offered<decltype(pm_metric_get)>("pm_metric_get");
    if (metric != nullptr && metric("worker_cpu_ns", &worker_ns) == 0) {
      workload.field("worker_percent", 100 * static_cast<double>(worker_ns) * 1e-9 / elapsed);
    }
    report_quantiles(workload, "malloc", times.malloc);
    report_quantiles(workload, "touch", times.touch);
  }

 private:
  static rusage usage() {
    rusage now = {};
    check(getrusage(RUSAGE_SELF, &now) == 0, "getrusage");
    return now;
  }

  static double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  }

  static void report_quantiles(Workload& workload, const char* what, const Histogram& ticks) {
    constexpr struct {
      const char* name;
      double part;
    } kQuantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}};
    char key[32];
    for (const auto& quantile : kQuantiles) {
      std::snprintf(key, sizeof key, "%s_%s_ns", what, quantile.name);
      workload.field(key, static_cast<double>(ticks.quantile(quantile.part)) / workload.ticks_per_ns());
    }
  }

  rusage before_;
};

}  // namespace bench
