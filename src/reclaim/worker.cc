#include "reclaim/worker.h"

#include <cstring>

#include "os/memory.h"
#include "os/process.h"
#include "page/exposure.h"
#include "reclaim/worker_state.h"

namespace pm {

using namespace worker;

namespace {

constexpr uint64_t kParkWaitNs = 50 * kMs;

}  // namespace

PM_START void worker_configure(const WorkerOptions& options) {
  settings = options;
  set(start_bytes, options.start_bytes);
  set_first_marks();
  rearm();
}

void worker_reconfigure(uint64_t bytes, const PressureOptions& pressure) {
  changed_pressure.write(pressure);
  changes.fetch_add(1, std::memory_order_release);
  set(start_bytes, bytes);
  // Unless it was met already.
  if (get(start_mark) != kNoMark && worker_state() == WorkerState::none) set(start_mark, first_start_mark());
  rearm();
  kick();
}

void set_own_limits(uint64_t soft, uint64_t hard) {
  set(own_limits.soft, soft);
  set(own_limits.hard, hard);
  // A heap that was too small for a worker may be worth one now.
  set(scarce_bytes, 0);
  if (worker_state() == WorkerState::none && get(start_mark) != kNoMark) set(start_mark, first_start_mark());
  rearm();
  kick();
}

bool worker_want() {
  if (own_state() == nullptr) return false;
  start_worker(true);
  rearm();
  return true;
}

void worker_stop() {
  State* const state = state_pointer.load(std::memory_order_acquire);
  if (state == nullptr || !os::is_running(*thread) || state->process.load() != os::process_id()) return;
  state->stop.store(true, std::memory_order_relaxed);
  state->bell.fetch_add(1, std::memory_order_release);
  os::wake_all(state->bell);
  os::join_thread(*thread, kSecond);
}

PM_START bool worker_was_started() {
  const State* const state = state_pointer.load(std::memory_order_acquire);
  return state != nullptr && get(state->starts) != 0;
}

WorkerState worker_state() {
  if (slicing.load(std::memory_order_relaxed)) return WorkerState::slices;
  return state_pointer.load(std::memory_order_acquire) != nullptr && os::is_running(*thread) ? WorkerState::running
                                                                                             : WorkerState::none;
}

bool pressure_view(PressureView& out) {
  const State* const state = state_pointer.load(std::memory_order_acquire);
  return state != nullptr && state->view.read(out);
}

bool pressure_round() {
  State* const state = inside_lock() ? nullptr : own_state();
  if (state == nullptr) return false;
  const Turn turn(*state);
  if (turn.taken) run_round(*state, nullptr, never, kSliceNs);
  return turn.taken;
}

WorkerStatistics worker_statistics() {
  WorkerStatistics out = {worker_state(), 0, 0, get(emergencies), get(refusals), get(kicks)};
  if (const State* const state = state_pointer.load(std::memory_order_acquire); state != nullptr) {
    out.starts = get(state->starts);
    out.cpu_ns = get(state->cpu_ns);
  }
  return out;
}

uint64_t worker_table_bytes() {
  if (state_pointer.load(std::memory_order_acquire) == nullptr) return 0;
  return os::memory().resident(memory_start, memory_bytes);
}

void worker_before_fork() {
  State* const state = state_pointer.load(std::memory_order_acquire);
  if (state == nullptr) return;
  state->pauses.fetch_add(1, std::memory_order_acq_rel);
  state->bell.fetch_add(1, std::memory_order_release);
  os::wake_all(state->bell);
  const uint64_t deadline = os::monotonic_ns() + kParkWaitNs;
  while (state->parked.load(std::memory_order_acquire) == 0 && os::is_running(*thread)) {
    const uint64_t now = os::monotonic_ns();
    if (now >= deadline) return;  // the locks protect what matters
    os::wait_on(state->parked, 0, deadline - now < 10 * kMs ? deadline - now : 10 * kMs);
  }
}

void worker_after_fork_parent() {
  State* const state = state_pointer.load(std::memory_order_acquire);
  if (state == nullptr || state->pauses.load(std::memory_order_relaxed) == 0) return;
  state->pauses.fetch_sub(1, std::memory_order_acq_rel);
  os::wake_all(state->pauses);
}

void worker_after_fork_child() {
  // Should another thread have been at it.
  if (get(tidy_mark) == kNoMark) set(tidy_mark, tidy_mark_of(exposed_bytes()));
  State* const state = state_pointer.load(std::memory_order_acquire);
  if (state == nullptr) return;
  if (!wiped_on_fork) {
    memset(static_cast<void*>(state), 0, sizeof *state);
    thread->id.store(0, std::memory_order_relaxed);
  }
  slicing.store(false, std::memory_order_relaxed);
  page_keep(0);
  set(kick_mark, kNoMark);
  set(limit_mark, kNoMark);
  set(young_since_ns, 0);
  set_first_marks();
  rearm();
}

}  // namespace pm
