// What the parts of the worker share: its record, the marks, and the turn.
//
//   worker_thread.cc   the raw thread: sleeps, looks, parks, ends
//   worker_start.cc    when a thread of the program starts it, or does a slice of its work
//   admit.cc           what an allocation does that meets a mark
//   worker.cc          what others call
//
// Nothing outside of these files includes this one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/compiler.h"
#include "base/seq_cell.h"
#include "os/thread.h"
#include "reclaim/engine.h"
#include "reclaim/worker.h"

namespace pm::worker {

inline constexpr uint64_t kMs = 1'000'000;
inline constexpr uint64_t kSecond = 1000 * kMs;
inline constexpr uint64_t kOldBytes = 4 * kMiB;  // less is too small to look at
// From this size on a worker looks once how much memory there is: where that is little, small heaps matter as well.
inline constexpr uint64_t kLimitLookBytes = 8 * kMiB;
inline constexpr uint64_t kSliceNs = kMs;

// In memory that a forked child finds zeroed.
struct State {
  std::atomic<int> process;  // whose state this is; 0: not set up
  std::atomic<bool> setting_up;
  std::atomic<bool> turn;       // somebody runs a round
  std::atomic<bool> relieving;  // a thread makes room in an emergency
  std::atomic<bool> stop;
  std::atomic<bool> leaving;   // the worker will end without another look at anything
  std::atomic<bool> wanted;    // a worker, however small the heap: somebody listens
  std::atomic<uint32_t> bell;  // what the worker sleeps on
  std::atomic<uint32_t> pauses;
  std::atomic<uint32_t> parked;
  std::atomic<uint32_t> looks;          // rounds whose findings are published
  std::atomic<uint64_t> untouched;      // bytes of allocations that wait for room
  std::atomic<uint64_t> refused_at_ns;  // 0: never
  std::atomic<uint64_t> next_slice_ns;
  std::atomic<uint64_t> waited_at_ns;
  std::atomic<uint64_t> waited_in_vain_ns;
  std::atomic<uint64_t> cpu_ns;
  std::atomic<uint64_t> starts;
  SeqCell<PressureView> view;
  void* kept_by_runtime;  // the worker's thread only
  uint32_t configured;    // the version of the settings that the engine has; owned by the turn
  bool has_engine;        // the turn's holder's, as the engine is
  alignas(Engine) char engine[sizeof(Engine)];
};

extern PM_SHARED WorkerOptions settings;
// What of the settings changed since: written by one thread at a time (the runtime's lock), read by whoever has a turn.
extern PM_SHARED std::atomic<uint64_t> start_bytes;
extern PM_SHARED SeqCell<PressureOptions> changed_pressure;
extern PM_SHARED std::atomic<uint32_t> changes;
// Set once; constant afterwards. Release pairs with the acquire of whoever finds it set.
extern PM_SHARED std::atomic<State*> state_pointer;
extern PM_SHARED os::RawThread* thread;
extern PM_SHARED bool wiped_on_fork;
extern PM_SHARED uintptr_t memory_start;
extern PM_SHARED size_t memory_bytes;

// The heap that is worth a worker by the limit; 0 until one has looked at that.
extern PM_SHARED std::atomic<uint64_t> scarce_bytes;

// Marks in bytes of exposure; see marks.h. Relaxed: whoever reads an old one acts a moment later.
extern PM_SHARED std::atomic<uint64_t> start_mark;
extern PM_SHARED std::atomic<uint64_t> age_mark;
extern PM_SHARED std::atomic<uint64_t> kick_mark;
extern PM_SHARED std::atomic<uint64_t> limit_mark;
extern PM_SHARED std::atomic<uint64_t> tidy_mark;  // kNoMark while a thread is at it
extern PM_SHARED std::atomic<bool> slicing;        // rounds run on slow paths

extern PM_SHARED std::atomic<uint64_t> emergencies;
extern PM_SHARED std::atomic<uint64_t> refusals;
extern PM_SHARED std::atomic<uint64_t> refusal_noted_ns;  // relaxed: two that come at once may both be noted
extern PM_SHARED std::atomic<uint64_t> kicks;

// Since when, and of which process, its age is counted: from the first look at it. Relaxed: hints, and two threads that
// look at once write the same.
extern PM_SHARED std::atomic<uint64_t> young_since_ns;
extern PM_SHARED std::atomic<int> young_process;

inline uint64_t get(const std::atomic<uint64_t>& value) { return value.load(std::memory_order_relaxed); }
inline void set(std::atomic<uint64_t>& value, uint64_t to) { value.store(to, std::memory_order_relaxed); }

struct Turn {
  explicit Turn(State& s) : state(s), taken(!s.turn.exchange(true, std::memory_order_acquire)) {}
  ~Turn() {
    if (taken) state.turn.store(false, std::memory_order_release);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  State& state;
  const bool taken;
};

// An allocation that must not be touched before it is known to fit.
struct Waiting {
  Waiting(State& s, uint64_t n) : state(s), bytes(n) { state.untouched.fetch_add(bytes, std::memory_order_relaxed); }
  ~Waiting() { state.untouched.fetch_sub(bytes, std::memory_order_relaxed); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  State& state;
  const uint64_t bytes;
};

// Made by the first holder of the turn, not by the thread that starts the worker: it touches a hundred kilobytes.
Engine& engine_of(State& state);
// The holder of the turn runs a round and tells everybody what it found.
uint64_t run_round(State& state, const os::RawThread* raw, Engine::Hurry hurry, uint64_t most_ns);

// This process's state, set up; nullptr if there is no memory, another thread is at it, or it belongs to the process
// that this one borrows its memory from (vfork).
State* own_state();

// Has the worker look, or the next slow path.
void kick();

// The exposure that a hard limit allows a request of `bytes` to reach.
uint64_t hard_mark(size_t bytes);
// The heap that is worth a worker, or one that is worth its look at the limit.
uint64_t first_start_mark();
void set_first_marks();
// The nearest mark is the one that the page layer's callers compare with. Slices look at every slow path.
void rearm();

// What the raw thread runs; its argument is the State.
void work(void* argument);

// Has a worker started, or makes slices do. Outside of locks. If not even that can be now, it is tried again when the
// heap has grown some more.
void start_worker(bool wanted = false);
// The process has some heap. Counted by process, so that a forked child is young again, with or without handlers.
void look_at_age();
// A round by a thread of the program, if one is due.
void maybe_slice(size_t bytes);

inline bool never(void*) { return false; }

}  // namespace pm::worker
