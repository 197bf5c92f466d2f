// What the statistics page shows of the heap profile that is being taken: the call sites whose objects hold most, and
// the requests that size classes serve worst.
//
// The tables are read in slices, each under the profile's lock for some microseconds, so that no allocation waits for
// long; between two slices counts may move on. Takes time in proportion to the profile, some milliseconds for the
// largest. One thread at a time, the worker.
#pragma once

#include "metrics/page.h"

namespace pm {

struct ProfileSummary {
  uint32_t site_rows, request_rows;
  SiteRow sites[kMaxSiteRows];  // the first site_rows
  RequestRow requests[kMaxRequestRows];
};

// Both empty while no profile is taken.
void profile_summarize(ProfileSummary& out);

}  // namespace pm
