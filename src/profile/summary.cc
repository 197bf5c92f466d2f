#include "profile/summary.h"

#include <cstring>

#include "base/largest.h"
#include "profile/state.h"

namespace pm {
namespace {

constexpr uint32_t kSlice = 1024;
constexpr uint32_t kSteps = kLargestRequest / kSizeStep + 1;

// Samples in use by the size that was asked for, in steps of 16 bytes.
PM_WIDE uint32_t in_use[kSteps];

struct HeavySite {
  uint32_t index;
  uint64_t bytes, size, samples;
};

// Calls use(i) for every i below count(), which may grow meanwhile.
template <typename Count, typename Use>
void under_lock(Count count, Use use) {
  uint32_t end = 1;
  for (uint32_t first = 0; first < end; first += kSlice) {
    const LockGuard guard(profile_state.lock);
    end = count();
    for (uint32_t i = first; i < end && i < first + kSlice; ++i) use(i);
  }
}

void find_sites(ProfileSummary& out) {
  const ProfileState& state = profile_state;
  Largest<HeavySite, kMaxSiteRows> found;
  under_lock([&] { return state.sites.count(); },
             [&](uint32_t i) {
               const Site& site = state.sites[i];
               if (site.generation != state.generation || site.live == 0) return;
               found.offer({i, site.live_weight, object_size(site.key, site.bytes, site.allocated), site.live},
                           site.live_weight);
             });
  for (; out.site_rows < found.count(); ++out.site_rows) {
    const HeavySite& heavy = found[out.site_rows];
    const Site& site = state.sites[heavy.index];  // its stack stays as it is
    SiteRow& row = out.sites[out.site_rows];
    row = {heavy.index, heavy.bytes, heavy.size, heavy.samples, 0, {}};
    for (; row.frames < site.depth && row.frames < kSiteFrames; ++row.frames) {
      row.stack[row.frames] = state.sites.stack_of(site)[row.frames];
    }
  }
}

void find_requests(ProfileSummary& out, uint64_t period) {
  const ProfileState& state = profile_state;
  memset(in_use, 0, sizeof in_use);
  under_lock([&] { return state.samples.used(); },
             [&](uint32_t i) {
               const LiveSample& sample = state.samples[i];
               if (sample.address == 0 || sample.generation != state.generation) return;
               // Large objects have asked for no size, and are in step 0.
               if (sample.requested <= kLargestRequest) ++in_use[(sample.requested + kSizeStep - 1) / kSizeStep];
             });
  Largest<RequestRow, kMaxRequestRows> found;
  for (uint32_t step = 1; step < kSteps; ++step) {
    const auto size = static_cast<uint32_t>(step * kSizeStep);
    const uint32_t served_by = size_class(class_of(size)).size;
    const RequestRow row = {size, in_use[step], slab_room(size), served_by, slab_room(served_by), 0};
    if (row.samples == 0 || row.room >= row.class_room) continue;
    const uint64_t each = sampled_weight(period, served_by) / served_by;
    found.offer(row, row.samples * each * (row.class_room - row.room));
  }
  for (; out.request_rows < found.count(); ++out.request_rows) out.requests[out.request_rows] = found[out.request_rows];
}

}  // namespace

void profile_summarize(ProfileSummary& out) {
  out.site_rows = out.request_rows = 0;
  const SamplingTable* const table = sampling_table();
  if (table == nullptr) return;
  find_sites(out);
  find_requests(out, table->period);
}

}  // namespace pm
