// When a thread of the program starts the worker, or does a slice of its work.
#include <cerrno>

#include "metrics/events.h"
#include "os/process.h"
#include "os/vfork.h"
#include "page/exposure.h"
#include "reclaim/worker_state.h"

namespace pm::worker {
namespace {

constexpr uint64_t kTryAgainBytes = 16 * kMiB;
constexpr uint64_t kRetryNs = 10 * kSecond;  // after the system refused a thread
constexpr uint64_t kSliceEveryNs = 500 * kMs;

void note_start(State& state) {
  state.starts.fetch_add(1, std::memory_order_relaxed);
  set(start_mark, kNoMark);
  // One that only looks at the limit may go again.
  if (state.wanted.load(std::memory_order_relaxed) || exposed_bytes() >= get(start_bytes)) set(age_mark, kNoMark);
  record_event(EventKind::worker, exposed_bytes());
}

}  // namespace

void start_worker(bool wanted) {
  // Its parent is to come by this mark.
  if (os::is_vfork_child()) return;
  set(start_mark, kNoMark);
  State* const state = own_state();
  if (state == nullptr) return set(start_mark, exposed_bytes() + kTryAgainBytes);
  if (os::is_running(*thread)) {
    if (state->leaving.load(std::memory_order_acquire)) set(start_mark, exposed_bytes());
    return;
  }
  // As with age: the filter of a small program may be deadly.
  const bool small = !wanted && settings.mode == WorkerMode::automatic && exposed_bytes() < get(start_bytes);
  if (small && os::is_sandboxed()) return set(start_mark, get(start_bytes));
  const uint64_t now = os::monotonic_ns();
  const uint64_t refused = get(state->refused_at_ns);
  if (settings.mode == WorkerMode::off || (refused != 0 && now - refused < kRetryNs)) {
    slicing.store(true, std::memory_order_relaxed);
    return;
  }
  state->stop.store(false, std::memory_order_relaxed);
  state->leaving.store(false, std::memory_order_relaxed);
  state->wanted.store(wanted || state->wanted.load(std::memory_order_relaxed), std::memory_order_relaxed);
  const long result = os::start_thread(*thread, "poolmalloc", work, state);
  if (result == -EBUSY) return;  // another thread was faster
  if (result == 0) {
    note_start(*state);
    slicing.store(false, std::memory_order_relaxed);
  } else {
    set(state->refused_at_ns, now);
    if (small) return set(start_mark, get(start_bytes));
    slicing.store(true, std::memory_order_relaxed);
  }
}

PM_START void look_at_age() {
  const uint64_t now = os::coarse_ns();
  const uint64_t since = get(young_since_ns);
  if (since != 0 && now - since < settings.start_seconds * kSecond) return;
  if (os::is_vfork_child()) return;
  const int me = os::process_id();
  if (since == 0 || young_process.load(std::memory_order_relaxed) != me) {
    young_process.store(me, std::memory_order_relaxed);
    return set(young_since_ns, now);
  }
  set(age_mark, kNoMark);
  State* const state = own_state();
  if (state == nullptr || os::is_sandboxed()) return;
  // A worker that only looks at the limit stays, unless it is about to go.
  state->wanted.store(true, std::memory_order_relaxed);
  if (os::is_running(*thread)) {
    if (state->leaving.load(std::memory_order_acquire)) set(age_mark, kOldBytes);
    return;
  }
  state->stop.store(false, std::memory_order_relaxed);
  state->leaving.store(false, std::memory_order_relaxed);
  if (os::start_thread(*thread, "poolmalloc", work, state) == 0) note_start(*state);
}

void maybe_slice(size_t bytes) {
  State* const state = state_pointer.load(std::memory_order_acquire);
  if (state == nullptr) return;
  const uint64_t now = os::coarse_ns();
  if (now < get(state->next_slice_ns)) return;
  if (own_state() != state) return;
  const Turn turn(*state);
  if (!turn.taken) return;
  set(state->next_slice_ns, now + kSliceEveryNs);
  const Waiting waiting(*state, bytes);
  run_round(*state, nullptr, never, kSliceNs);
  const uint64_t refused = get(state->refused_at_ns);
  if (settings.mode != WorkerMode::off && refused != 0 && now - refused >= kRetryNs) start_worker();
}

}  // namespace pm::worker
