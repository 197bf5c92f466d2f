// The threads that run the program's pressure callbacks: ordinary ones, started with the first subscription, all
// signals blocked. One runs the callbacks, one watches it: a callback that takes too long is named in one line, its
// thread is left to it, and a new one goes on with the others.
//
// Subscriptions are guarded by one mutex, which is never held while a callback runs. A forked child has neither threads
// nor subscriptions.
#pragma once

#include <cstdint>

#include "poolmalloc/poolmalloc.h"

namespace pm {

struct NotifyStatistics {
  uint64_t called, overdue;
};
NotifyStatistics notify_statistics();

// How long a callback may take; set at start.
void set_callback_seconds(uint64_t seconds);

void notify_after_fork_child();

}  // namespace pm
