// Who gives what back, when and why. Pure arithmetic: no clock, file, thread, atomic, libm or allocation. One thread
// calls; a Planner holds about 36 KiB and wants to be static. All zeros is a fresh one.
//
// Dirty memory is a stack above current demand: what lies at height h was last wanted when demand last reached h.
// Keeping it costs hold * idle time, dropping it costs K (decommit now, refault later); how much is worth keeping is
// decided by what that would have cost so far (keep.h, idle_history.h), not by a fixed delay. Whole free blocks lie on
// top of the stack, runs between objects beneath, because they are reused first. On huge pages a run is dearer to drop:
// it comes back on small pages.
//
// Pressure is a higher price of holding, and then a sum that has to go. Where other processes share the limit (they
// have had a tenth of it of late), a byte is four times as dear at moderate, everything goes from high on, and at any
// level not more is kept than would fit if the others came back to where they were in the last minutes: their demand
// may rise when ours falls. Alone, what is kept is there for our own next rise and endangers nobody: at critical as
// much goes as brings usage down to 90 % of the limit, at emergency everything.
//
// Steps come outermost first, as they are to be carried out, and none asks for more than is held.
#pragma once

#include <cstdint>

#include "forecast/forecast.h"
#include "reclaim/idle_history.h"
#include "reclaim/keep.h"
#include "reclaim/level.h"

namespace pm {

// What could be given back, layer by layer, outermost first. Filled by the executor; a figure that it does not know is
// 0.
struct Holdings {
  uint64_t magazine_bytes;     // free objects in the magazines of all CPUs
  uint64_t depot_bytes;        // free objects in the depot
  uint64_t empty_slab_bytes;   // slabs without objects
  uint64_t dirty_bytes;        // free resident granules, of which
  uint64_t dirty_block_bytes;  //   in whole free huge blocks and extents of at least one
  uint64_t dirty_run_bytes;    //   in runs below a huge block
  uint64_t small_page_bytes;   // used blocks dense enough for a huge page, but on small pages
  bool huge;                   // dirty blocks are huge pages
};

// The steps in the order in which they are carried out.
enum class Action : uint8_t {
  notify,           // tell the application; the goal is what it should free
  drain_caches,     // magazines of idle CPUs, then the others, then the depot
  release_slabs,    // hand empty slabs to the page layer
  decommit_blocks,  // whole free huge blocks and extents of at least one
  decommit_runs,    // free runs below a huge block; splits huge pages
  collapse,         // huge pages for dense blocks
  prefault,         // populate free clean memory that is about to be wanted
};
inline constexpr unsigned kActions = 7;

enum class Reason : uint8_t {
  idle,          // not wanted for as long as keeping it pays, by its own history
  distance,      // farther above current demand than keeping pays, by its own history
  pressure,      // moderate or high: the limit makes memory dearer than refaults
  limit_near,    // critical
  emergency,     // emergency; also what the allocating thread itself releases
  requested,     // pm_trim, malloc_trim, a soft limit of the API. Not planned here: for the executor's counters
  dense,         // collapse: a calm process's blocks are worth huge pages
  demand_ahead,  // prefault: demand is expected to rise
};
inline constexpr unsigned kReasons = 8;

struct Step {
  Action action;
  Reason reason;
  uint64_t goal_bytes;
};

inline constexpr unsigned kMaxSteps = 8;

struct Plan {
  Step steps[kMaxSteps];
  unsigned count;
  // The next time at which idle memory is due to go, if nothing moves: a sample then keeps it from being held too long.
  // UINT64_MAX: none is due.
  uint64_t next_in_ns;
  // Once more than this is dirty, the next sample should not wait: memory that would be given back at once has come
  // free.
  uint64_t wake_dirty_bytes;
};

// Measured at run time. Nanoseconds of CPU time per MiB.
struct Prices {
  uint64_t refault_ns_per_mib;       // touching decommitted memory again, on small pages
  uint64_t refault_huge_ns_per_mib;  // the same on huge pages
  uint64_t decommit_ns_per_mib;
  uint64_t collapse_ns_per_mib;
  uint64_t
      hold_ns_per_mib_second;  // what holding a MiB for a second is worth (the option hold_price); pressure raises it
};

// What holds until something has been measured: warm pages on an ordinary machine.
inline constexpr Prices kUnmeasuredPrices = {320'000, 49'000, 60'000, 400'000, 100'000};

struct PlanOptions {
  // Of the CPU time that the process uses itself, but of one core at most, for prefault and collapse together; 0:
  // neither.
  uint32_t background_permille;
  bool prefault;
  bool collapse;
};

class Planner {
 public:
  void configure(const PlanOptions& options) { options_ = options; }

  // Called for each sample, after Forecaster::add and LevelTracker::update with the same one. Learns from it, and says
  // what to do now. Deterministic: the same calls give the same plans.
  Plan next(const Sample& sample, const Forecast& forecast, PressureLevel level, const Holdings& holdings,
            const Prices& prices);

  // Whether memory may go to and fro between this process and others: they share the limit, and a third of it is used.
  bool lends(const Sample& sample) const;

 private:
  // What of the dirty memory is to go, and why.
  struct Release {
    uint64_t block_bytes;
    uint64_t run_bytes;
    Reason reason;
    uint64_t valid_ns;
  };

  void tell_time(const Sample& sample);
  void watch_others(const Sample& sample);
  uint64_t others() const;
  bool shared(uint64_t limit) const;
  uint64_t must_go(const Sample& sample, uint64_t held, PressureLevel level) const;
  Release release(const Sample& sample, PressureLevel level, const Holdings& holdings, const Prices& prices);
  void add_notify(Plan& plan, const Sample& sample, PressureLevel level, const Holdings& holdings);
  uint64_t add_caches(Plan& plan, PressureLevel level, const Holdings& holdings);
  uint64_t rise_ahead(const Forecast& forecast) const;
  void add_background(Plan& plan, const Sample& sample, const Forecast& forecast, const Holdings& holdings,
                      const Prices& prices);

  PlanOptions options_ = {};
  IdleHistory idle_;
  Keeper blocks_;
  Keeper runs_;
  uint64_t now_ns_ = 0;
  uint64_t step_ns_ = 0;  // since the sample before; 0 if time stood
  uint64_t last_demand_ = 0;
  uint64_t last_held_ = 0;
  uint64_t others_high_ = 0;      // the highest usage by others in this minute
  uint64_t others_before_ = 0;    // and in the minute before
  uint64_t rising_since_ns_ = 0;  // demand has not fallen since
  uint64_t rising_from_ = 0;
  uint64_t minute_since_ns_ = 0;
  uint64_t turnover_ = 0;  // bytes allocated and freed since the start
  uint64_t quiet_since_ns_ = 0;
  uint64_t notified_ns_ = 0;
  uint64_t drained_ns_ = 0;
  uint64_t budget_ns_ = 0;  // CPU time that prefault and collapse may still use
  uint64_t process_cpu_ns_ = 0;
  PressureLevel last_level_ = PressureLevel::calm;
  bool started_ = false;
};

}  // namespace pm
