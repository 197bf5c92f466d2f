// One round of the pressure story: observe -> forecast -> level -> plan -> execute, and when to look again.
//
// Whoever runs a round owns the engine while it does: the worker, or, where there is none, one thread of the program at
// a time (worker_state.h: Turn). Its memory is mapped when the first round is due; all zero is "not set up".
#pragma once

#include <atomic>
#include <cstdint>

#include "forecast/forecast.h"
#include "observe/observer.h"
#include "reclaim/alarm.h"
#include "reclaim/executor.h"
#include "reclaim/figures.h"
#include "reclaim/leak.h"
#include "reclaim/level.h"
#include "reclaim/marks.h"
#include "reclaim/plan.h"

namespace pm {

struct PressureOptions {
  LevelOptions levels;
  ForecastOptions forecast;
  PlanOptions plan;
  uint64_t hold_ns_per_mib_second;
  uint32_t cpu_permille;  // of a core, for rounds that no pressure hurries
};

// What a round found, for whoever asks: the API, the statistics, an allocation that meets a mark.
struct PressureView {
  PressureLevel level;
  Sample sample;
  Forecast forecast;
  LeakSuspicion leak;
  uint64_t exposed_bytes;  // at the sample
  uint64_t limit_bytes;    // the one in force: the sample's, what the host has left, or one that the program set
  uint64_t usage_bytes;    // what counts against it
  uint64_t wanted_bytes;   // that the program itself should free; 0 below critical
  uint64_t rounds;
  uint64_t refault_ns_per_mib, decommit_ns_per_mib;
};

// Whether others count against the limit as well, and so much that what they take or give back matters.
inline bool is_shared(const PressureView& view) {
  const uint64_t ours = view.sample.resident_bytes;
  const uint64_t others = view.usage_bytes > ours ? view.usage_bytes - ours : 0;
  return view.limit_bytes != kNoLimit && others >= view.limit_bytes / 10;
}

// Limits that the program set by itself, in bytes; 0: none. Relaxed: they apply from the next look on.
struct OwnLimits {
  std::atomic<uint64_t> soft{0};  // of resident memory
  std::atomic<uint64_t> hard{0};  // of exposed memory
};
extern PM_SHARED OwnLimits own_limits;

// Nanoseconds of CPU time that rounds without hurry may take: `permille` of the time that passes, saved up for at most
// ten seconds.
class CpuBudget {
 public:
  void configure(uint32_t permille) { permille_ = permille; }
  void pass(uint64_t now_ns);
  void spend(uint64_t ns) { left_ns_ -= static_cast<int64_t>(ns); }
  bool is_spent() const { return left_ns_ <= 0; }

 private:
  uint32_t permille_ = 0;
  int64_t left_ns_ = 0;
  uint64_t last_ns_ = 0;
};

class Engine {
 public:
  // Whether to stop between slices of work: somebody waits for this thread.
  using Hurry = bool (*)(void* context);

  // At first, and again when the options change: nothing that was learnt is lost.
  void configure(const PressureOptions& options);
  // One round. `thread` is the raw worker's, or null. `most_ns` bounds what a round without pressure does, beside the
  // CPU budget; 0 does not. `untouched`: bytes that threads have which wait to hear whether they may touch them.
  // Returns the nanoseconds after which the next round is due.
  uint64_t round(const os::RawThread* thread, Hurry hurry, void* context, uint64_t most_ns, uint64_t untouched);
  // CPU time that was spent on telling others what a round found.
  void charge(uint64_t ns) {
    cpu_ns_ += ns;
    budget_.spend(ns);
  }
  // The limit in force, for who only wants to know whether it is near enough to look again and again.
  uint64_t look_at_limit();
  // Closes the sensors; the next round opens them again.
  void close();

  const PressureView& view() const { return view_; }
  // What may end a sleep early, and after the sleep whether it did.
  bool has_woken();
  Marks marks() const { return marks_; }
  uint64_t cpu_ns() const { return cpu_ns_; }

 private:
  struct GoOn;
  static bool go_on(void* context, Reason reason);
  void open_sensors(bool waits);
  void apply_own_limits(Sample& sample) const;
  void look_for_leaks(uint64_t now_ns);
  uint64_t sparse_bytes(uint64_t now_ns);
  uint64_t next_round_ns(const Sample& sample, const Plan& plan);
  void set_marks(const Sample& sample, uint64_t given, uint64_t untouched);

  PressureOptions options_ = {};
  Observer observer_;
  Forecaster forecaster_;
  LevelTracker levels_;
  Planner planner_;
  Executor executor_;
  Figures figures_;
  LeakWatch leaks_;
  PendingTouch pending_;
  CpuBudget budget_;
  BorrowedEvents borrowed_ = {};
  PressureView view_ = {};
  Marks marks_ = {kNoMark, kNoMark};
  uint64_t cpu_ns_ = 0;
  uint64_t tried_slabs_ns_ = 0;  // as a last resort
  uint64_t measured_at_ns_ = 0;
  uint64_t due_ns_ = 0;  // the next round
  bool open_ = false;
};

}  // namespace pm
