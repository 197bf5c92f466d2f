// What a profile consists of; of the files profile.cc and dump.cc alone.
#pragma once

#include "base/lock.h"
#include "magazine/sampling.h"
#include "profile/modules.h"
#include "profile/profile.h"
#include "profile/samples.h"
#include "profile/sites.h"
#include "profile/slots.h"

namespace pm {

inline constexpr unsigned kAges = 8;

// A copy of a site's counts, for the dump.
struct SiteCounts {
  uint64_t allocated, bytes, live, live_weight, peak, temporary;
  uint32_t ages[kAges];
};

struct ProfileState {
  Lock lock{LockRank::profile};
  // Guarded by lock, but for what these classes say of themselves.
  SiteTable sites;
  SampleTable samples;
  SampledSlots slots;
  ModuleTable modules;
  uint32_t generation = 0;  // of the profile being taken, or taken last
  uint64_t period = 0;
  uint64_t started_ns = 0;  // wall clock
  uint64_t taken = 0;       // samples
  uint64_t dropped_before = 0;
  // The peak: while `at_peak`, what lives now is the most there ever was. The first free after that begins an epoch: a
  // site that changes from then on keeps what it had (live_at_peak), so the others' live counts are still those of the
  // peak.
  uint64_t live_weight = 0;
  uint64_t peak_weight = 0;
  uint32_t peak_epoch = 0;
  bool at_peak = true;

  std::atomic<bool> dumping{false};  // who finds it set goes without
  Table<SiteCounts> counts;          // the dump's
};

extern PM_SHARED ProfileState profile_state;

// The samples that live, as of the dump.
uint64_t profile_now_ns();

}  // namespace pm
