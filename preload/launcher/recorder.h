// Watches a process through its statistics page for a while, without a call into it.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_RECORDER_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_RECORDER_H_

#include "preload/launcher/recording.h"
#include "preload/launcher/target.h"

namespace pm {

struct RecordRequest {
  uint64_t for_ms = 30'000;
  uint64_t every_ms = 500;
};

// Until the time is over, the process ends, or SIGINT, SIGTERM or SIGHUP comes: then what there is is the recording; a
// second signal ends the command. On a terminal a line on stderr shows how far it is. False, after a line on stderr,
// only if nothing at all could be read.
bool record(const Target& target, const RecordRequest& request, Recording& recording);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_RECORDER_H_
