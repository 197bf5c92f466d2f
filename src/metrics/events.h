// What happened to the memory of late: the last 256 events, for the statistics page.
//
// Any thread records, also in a signal handler: no lock, no system call but getpid, nothing allocated. A writer that
// finds its slot in the hands of another one drops its event. An event carries its process, so that a forked child does
// not show its parent's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm {

enum class EventKind : uint8_t {
  none,
  decommit,   // memory given back to the system; with its reason
  drain,      // free objects moved out of caches; with its reason
  prefault,   // free memory touched ahead of demand
  collapse,   // memory put on huge pages
  level,      // the pressure level changed, `from` to `to`
  trim,       // the program asked for memory to be given back
  emergency,  // an allocation met the limit and made room
  refusal,    // limit_hard made an allocation fail
  fork,       // this process was forked from another
  worker,     // the worker began to watch
};
inline constexpr unsigned kEventKinds = 11;

struct Event {
  uint64_t time_ns;  // CLOCK_MONOTONIC
  uint64_t bytes;
  uint32_t process;
  EventKind kind;
  uint8_t reason;    // of decommit and drain: a Reason (reclaim/plan.h)
  uint8_t from, to;  // of level: PressureLevel (reclaim/level.h)
};
static_assert(sizeof(Event) == 24);

inline constexpr size_t kMaxEvents = 256;

void record_event(EventKind kind, uint64_t bytes, uint8_t reason = 0);
void record_level(uint8_t from, uint8_t to);

// Tells this process's events to use(context, event), the oldest first.
void each_event(void (*use)(void* context, const Event& event), void* context);

}  // namespace pm
