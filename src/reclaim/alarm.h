// How a pressure level reaches whoever asked to hear of it: a bell for the thread that runs callbacks, and the event
// descriptors of event loops.
//
// Who rings is the worker, or the thread that does its work for the moment; it waits for nobody. The listening thread
// is the runtime's (runtime/notify.cc).
#pragma once

#include <atomic>
#include <cstdint>

#include "base/compiler.h"
#include "os/thread.h"
#include "reclaim/level.h"

namespace pm {

// One word, so that a futex can wait for it: the number of alarms so far.
struct Alarm {
  std::atomic<uint32_t> rung{0};
  // The newest alarm whose callbacks have all returned; what an allocating thread waits for.
  std::atomic<uint32_t> answered{0};
  std::atomic<uint32_t> listeners{0};    // callbacks that are subscribed
  std::atomic<int> listening_thread{0};  // id of the thread that runs them
  // Of the newest alarm. Relaxed: the bell orders them, and a newer value is as good.
  std::atomic<uint8_t> level{0};
  std::atomic<uint64_t> wanted_bytes{0};
};
extern PM_SHARED Alarm alarm_bell;

// An event descriptor of the program: written when its level is reached.
struct EventSlot {
  std::atomic<int> fd{-1};
  std::atomic<uint8_t> level{0};
  std::atomic<uint32_t> generation{0};  // odd while the slot is in use; changes with every user
};
inline constexpr unsigned kEventSlots = 16;
extern PM_SHARED EventSlot event_slots[kEventSlots];

// The raw worker has a table of files of its own and borrows the descriptors from the program's, once each.
struct BorrowedEvents {
  uint32_t generation[kEventSlots];  // of the copy at hand, 0 for none
  int fd[kEventSlots];
};

// Tells everybody who asked for `level` or a lower one, if `level` is news: it was reached from below, or memory is
// wanted again. `thread` and `borrowed` are the raw worker's, null for a thread of the program.
void ring(PressureLevel level, PressureLevel before, uint64_t wanted_bytes, const os::RawThread* thread,
          BorrowedEvents* borrowed);

// Waits until the callbacks of all alarms up to now have returned, at most `timeout_ns`; not at all without listeners
// or in a listener.
void wait_for_answer(uint64_t timeout_ns);

// In a forked child, which has no listening thread.
void alarm_after_fork_child();

}  // namespace pm
