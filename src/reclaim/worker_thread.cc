// The raw thread: no C library, all signals blocked (os/thread.h).
#include <cerrno>

#include "os/process.h"
#include "page/exposure.h"
#include "reclaim/worker_state.h"

namespace pm::worker {
namespace {

// Programs that are over in a moment get no look at all.
constexpr uint64_t kFirstSleepNs = 10 * kMs;
constexpr uint64_t kFilesNs = 200 * kMs;    // between looks at the sensors' files
constexpr uint64_t kPlaceNs = 2 * kSecond;  // between looks whether the worker is in its place
constexpr uint64_t kWorthShare = 32;        // of the limit: a heap that is worth a worker

bool is_wanted_elsewhere(void* context) {
  const State& state = *static_cast<const State*>(context);
  return state.stop.load(std::memory_order_relaxed) || state.pauses.load(std::memory_order_acquire) != 0;
}

// Stands still until nobody forks any more.
void park(State& state) {
  for (;;) {
    const uint32_t pauses = state.pauses.load(std::memory_order_acquire);
    if (pauses == 0 || state.stop.load(std::memory_order_relaxed)) return;
    state.parked.store(1, std::memory_order_release);
    os::wake_all(state.parked);
    os::wait_on(state.pauses, pauses, kSecond);
    state.parked.store(0, std::memory_order_release);
  }
}

// Sleeps until `deadline_ns`, a kick, or a call to stop or park. A futex cannot wait for files as well, so what the
// sensors would be woken by is looked at some times a second; none of it warns earlier than usage does. True if a round
// is due before its time.
bool sleep_until(State& state, ControlChannel& channel, uint32_t rung, uint64_t deadline_ns) {
  uint64_t looked_ns = os::monotonic_ns();
  for (;;) {
    const uint64_t channel_ns = channel.look(os::monotonic_ns(), settings.control);
    if (state.bell.load(std::memory_order_acquire) != rung) return true;
    const uint64_t now = os::monotonic_ns();
    if (now >= deadline_ns || is_wanted_elsewhere(&state)) return false;
    const uint64_t left = deadline_ns - now;
    uint64_t sleep_ns = left < kFilesNs ? left : kFilesNs;
    if (channel_ns < sleep_ns) sleep_ns = channel_ns;
    if (sleep_ns != 0) os::wait_on(state.bell, rung, sleep_ns);
    if (left <= kFilesNs || now + sleep_ns - looked_ns < kFilesNs) continue;
    looked_ns = now + sleep_ns;
    const Turn turn(state);
    if (turn.taken && engine_of(state).has_woken()) return true;
  }
}

// A round, unless a thread of the program is at one; what it found is made known.
uint64_t take_round(State& state) {
  const Turn turn(state);
  if (!turn.taken) return kMs;
  const uint64_t next = run_round(state, thread, is_wanted_elsewhere, 0);
  const uint64_t before = os::thread_cpu_ns();
  const uint64_t due = worker_looked(state.kept_by_runtime, *thread, next);
  engine_of(state).charge(os::thread_cpu_ns() - before);
  return due;
}

// Not in a sandbox of the process's own making, which may end it for a socket. Nor in a table of files that the program
// has its hands in.
bool may_have_channel() {
  return settings.control != nullptr && thread->own_files && os::are_inherited(thread->filters);
}

// Whether the heap is worth a worker: large, or large for the memory there is, which is learnt once.
bool is_worth_it(State& state) {
  if (settings.mode == WorkerMode::always || state.wanted.load(std::memory_order_relaxed)) return true;
  if (get(scarce_bytes) == 0) {
    const Turn turn(state);
    if (!turn.taken) return true;
    const uint64_t share = engine_of(state).look_at_limit() / kWorthShare;
    set(scarce_bytes, share > kLimitLookBytes ? share : kLimitLookBytes);
  }
  return exposed_bytes() >= first_start_mark();
}

enum class End : uint8_t { told, misplaced, sandboxed, not_worth_it };

// Rounds until the thread is to end; returns why.
End do_rounds(State& state, ControlChannel& channel) {
  bool wants_channel = may_have_channel();
  uint32_t rung = state.bell.load(std::memory_order_acquire);
  uint64_t looked_ns = os::monotonic_ns();
  uint64_t round_ns = looked_ns + kFirstSleepNs;
  uint64_t open_ns = round_ns;
  bool first = true;
  for (;;) {
    const uint64_t look_ns = looked_ns + kPlaceNs;
    const bool early = sleep_until(state, channel, rung, round_ns < look_ns ? round_ns : look_ns);
    if (state.stop.load(std::memory_order_relaxed)) return End::told;
    park(state);
    const uint64_t now = os::monotonic_ns();
    if (now >= look_ns) {
      looked_ns = now;
      const os::Place place = os::place_of(*thread);
      if (place != os::Place::same) return place == os::Place::sandboxed ? End::sandboxed : End::misplaced;
    }
    if (first && (early || now >= round_ns)) {
      if (!is_worth_it(state)) return End::not_worth_it;
      first = false;
    }
    if (wants_channel && !first && now >= open_ns) {
      open_ns = now + kPlaceNs;
      wants_channel = channel.open(os::process_id()) == -EADDRINUSE;
    }
    if (!early && now < round_ns) continue;
    rung = state.bell.load(std::memory_order_acquire);
    const uint64_t next = take_round(state);
    round_ns = os::monotonic_ns() + next;
  }
}

}  // namespace

void work(void* argument) {
  State& state = *static_cast<State*>(argument);
  ControlChannel channel;
  const End end = do_rounds(state, channel);
  channel.close();
  worker_ends(state.kept_by_runtime);
  const Turn turn(state);
  if (turn.taken) engine_of(state).close();
  state.leaving.store(true, std::memory_order_release);
  // Whoever comes by next may start another. Not under a filter that came later: what it allows is unknown, and to ask
  // may be death.
  set(start_mark, end == End::sandboxed ? kNoMark : end == End::not_worth_it ? first_start_mark() : 0);
  rearm();
}

}  // namespace pm::worker
