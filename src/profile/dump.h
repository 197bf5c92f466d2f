// The profile as text, for the tool to read (poolmalloc prof ...): lines of words, in one pass, the last of which says
// that it is whole.
//
//   poolmalloc-profile 1
//   process PID START EXECUTABLE       seconds since 1970
//   taken SECONDS.MS
//   started SECONDS.MS                 when the profile began
//   period BYTES                       between samples, on average; 1: every allocation is one
//   dropped N                          samples that were not recorded
//   mapping START END OFFSET BUILD_ID here|gone PATH
//   site ID SIZE ALLOCATED LIVE PEAK TEMPORARY age N0 ... N7 stack PC ...
//   end SITES
//
// Addresses and offsets are hexadecimal. Counts are samples, unscaled: each stands for 1 / (1 - exp(-SIZE / period))
// objects. SIZE is that of the objects' class, of large objects the mean. PEAK: alive when the memory of the whole
// profile was at its highest. TEMPORARY: freed within 10 ms. age: of the live ones, below 1 s, 10 s, 1 min, 5 min,
// 30 min, 2 h, 12 h, and older. A stack is innermost first, and 0 where none could be taken; a library
// that was unloaded has its ranges as `gone`.
#pragma once

#include <cstdint>

#include "profile/state.h"

namespace pm {

// Writes the profile that is being taken or was taken last. 0, or -ESRCH if there is none, -EBUSY while another thread
// writes one, or what write(2) reported. Makes system calls only, so any thread may call it, but no signal handler.
long profile_dump(int fd);

// Copies the counts of all sites under the lock, and calls use(site, counts) for those of the present profile: for
// other reports. -ESRCH or -EBUSY as above.
using SiteUser = void (*)(void* context, const Site& site, const SiteCounts& counts);
long profile_each_site(SiteUser use, void* context);
uint64_t site_size(const Site& site, const SiteCounts& counts);
const uintptr_t* site_stack(const Site& site);

}  // namespace pm
