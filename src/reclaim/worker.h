// The background worker: when it starts, sleeps and ends; and what an allocation does that meets a mark.
//
// The worker is a raw thread (os/thread.h), started on the slow path of the allocation that first makes the heap larger
// than `start_bytes`, outside of locks. That is "inside malloc", but on no stack but its own: of the caller it needs
// three system calls. It sleeps through its first ten milliseconds, so that short-lived programs pay those and nothing
// more. It is not started in a signal handler inside a lock, nor in a child of vfork(2), which shares its parent's
// memory: the record names the process it belongs to.
//
// Where memory is scarce, a heap smaller than that is worth a worker too: a 32nd part of the limit, but 8 MiB at least.
// At 8 MiB one is started to look at the limit; it ends at once if the heap is not worth it yet.
//
// A process that is some seconds old and has a few MiB of heap gets one too, so that it publishes its statistics. Its
// age is looked at on the same slow paths, until it is old enough. Not under a system call filter of the program's own:
// such programs are small, and the filter may be deadly.
//
// Where it is switched off or refused, threads of the program run the same rounds on their slow paths: one at a time,
// at most every half second, for about a millisecond.
//
// Before a fork the worker is asked to park, so that the child inherits nothing half done. The child has no worker; its
// copy of the record is wiped by the kernel, and it starts one by the same rule. A worker that finds itself out of
// place (other user, new seccomp filter, last thread) ends, and is started again by the next thread that has a reason.
//
// Thread-safe. The state is owned by whoever holds `turn`; the rest is atomics.
#pragma once

#include <cstddef>
#include <cstdint>

#include "control/channel.h"
#include "reclaim/engine.h"

namespace pm {

enum class WorkerMode : uint8_t { automatic, off, always };

struct WorkerOptions {
  WorkerMode mode;
  uint64_t start_bytes;
  uint64_t start_seconds;  // 0: by size alone
  PressureOptions pressure;
  // Answers requests of the control channel, on the worker; nullptr: no channel.
  ControlAnswer control;
};

// Once, when the heap starts: stores the options and sets the first mark. Nothing else.
void worker_configure(const WorkerOptions& options);

// Thread-safe, at any time later: other arithmetic and another size to start at, in force from the next round on, which
// is asked for at once. The mode stays.
void worker_reconfigure(uint64_t start_bytes, const PressureOptions& pressure);

// Called after memory was taken into use and the mark was passed (page/exposure.h): does what the mark was for. False:
// a hard limit forbids that a request of `bytes` made the exposure more than `before`; the caller gives back what it
// took and fails. Keeps errno.
bool admit(size_t bytes, uint64_t before);

// Limits of the program's own; 0 for none. Takes effect at once.
void set_own_limits(uint64_t soft, uint64_t hard);

// Makes sure that rounds are run from now on, whatever the size of the heap: somebody listens. False if there is no
// memory for it.
bool worker_want();
// Ends the worker if it runs and waits for that; the next reason starts it again. For calls that the kernel allows to
// processes of one thread only.
void worker_stop();
bool worker_was_started();

enum class WorkerState : uint8_t { none, running, slices };
WorkerState worker_state();

// What the last round found; false if there was none yet.
bool pressure_view(PressureView& out);
// A round now, by this thread, unless one is under way. False if it could not be run here.
bool pressure_round();

struct WorkerStatistics {
  WorkerState state;
  uint64_t starts, cpu_ns, emergencies, refusals, kicks;
};
WorkerStatistics worker_statistics();
// Resident memory of the thread's stack and of what it knows.
uint64_t worker_table_bytes();

// Provided by the runtime, called by the worker's thread outside of locks (raw: system calls only): after each round,
// the next of which is due in `next_ns` (returned, or an earlier time), and before it ends. `kept` is null in a worker
// that has just begun, and is the runtime's from then on.
uint64_t worker_looked(void*& kept, const os::RawThread& thread, uint64_t next_ns);
void worker_ends(void*& kept);

void worker_before_fork();
void worker_after_fork_parent();
void worker_after_fork_child();

}  // namespace pm
