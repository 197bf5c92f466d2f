// Heap profiles in the format of pprof (github.com/google/pprof, proto/profile.proto): gzipped protobuf.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_PPROF_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_PPROF_H_

#include <string>

#include "preload/launcher/profile_stacks.h"

namespace pm {

// The message itself. Sample types are those of Go's and tcmalloc's heap profiles, and peak_ and temporary_ ones;
// inuse_space is shown first. Each sample is labelled with its object size ("bytes").
std::string pprof_message(const StackProfile& profile);

// The same as a file that pprof opens.
std::string pprof_file(const StackProfile& profile);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_PPROF_H_
