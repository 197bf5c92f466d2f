// What an allocation does that meets a mark.
#include "magazine/magazine.h"
#include "metrics/events.h"
#include "os/process.h"
#include "page/exposure.h"
#include "reclaim/worker_state.h"
#include "slab/slab.h"

namespace pm::worker {
namespace {

constexpr uint64_t kAnswerNs = 50 * kMs;
constexpr uint64_t kOthersNs = kSecond;  // how long an allocation waits for other processes under the same limit
constexpr uint64_t kOthersStepNs = 10 * kMs;
constexpr uint64_t kLookNs = 5 * kMs;  // and for the worker's look at what others left
constexpr uint64_t kLookStepNs = kMs / 2;
constexpr uint64_t kVainNs = 5 * kSecond;
// After an emergency that could not make room: how much more until the next.
constexpr uint64_t kEmergencyStep = 4 * kMiB;

// At most once a second: a program may go on asking.
void note_refusal(size_t bytes) {
  const uint64_t now = os::coarse_ns();
  if (now - get(refusal_noted_ns) < kSecond) return;
  set(refusal_noted_ns, now);
  record_event(EventKind::refusal, bytes);
}

// Gives back `goal` bytes of exposure and lowers `mark` by what of it was not resident, and so made no room.
void release_and_correct(uint64_t goal, uint64_t& mark) {
  const uint64_t before = os::process_resident_bytes();
  const uint64_t given = release_now(kRealLayers, goal, Reason::emergency);
  const uint64_t after = os::process_resident_bytes();
  const uint64_t freed = before > after ? before - after : 0;
  if (given > freed) mark = mark > given - freed ? mark - (given - freed) : 0;
}

// Has the worker look every `step_ns`, until the mark it sets lets us go on or the time is over. Where it cannot,
// parked for a fork as it may be, this sleeps all the same.
bool wait_for_look(State& state, uint64_t most_ns, uint64_t step_ns) {
  if (!os::is_running(*thread)) return false;
  const uint64_t start = os::monotonic_ns();
  for (uint64_t now = start; now - start < most_ns;) {
    const uint32_t seen = state.looks.load(std::memory_order_acquire);
    kick();
    os::wait_on(state.looks, seen, step_ns);
    PressureView view;
    if (exposed_bytes() <= get(limit_mark) || !state.view.read(view) || !is_shared(view)) return true;
    const uint64_t spent = os::monotonic_ns() - now;
    if (spent < step_ns) os::sleep_ns(step_ns - spent);
    now = os::monotonic_ns();
  }
  return false;
}

// Other processes under the same limit may be about to give back what they do not need, as this library does within a
// few tenths of a second: waiting for that is better than being killed. After a wait in vain it is not tried again for
// a while.
bool wait_for_others(State& state) {
  if (os::monotonic_ns() - get(state.waited_in_vain_ns) < kVainNs) return false;
  if (wait_for_look(state, kOthersNs, kOthersStepNs)) return true;
  set(state.waited_in_vain_ns, os::monotonic_ns());
  return false;
}

// Another thread makes room. Going on meanwhile would use up what it waits for.
void wait_for_relief(const State& state) {
  const uint64_t start = os::monotonic_ns();
  if (start - get(state.waited_in_vain_ns) < kVainNs) return;
  PressureView view;
  while (state.relieving.load(std::memory_order_acquire) && exposed_bytes() > get(limit_mark) &&
         state.view.read(view) && is_shared(view) && os::monotonic_ns() - start < kOthersNs) {
    os::wait_on(state.looks, state.looks.load(std::memory_order_acquire), kOthersStepNs);
  }
}

// This allocation would take the process over its limit: gives back what is free, and if that does not make room, calls
// the program back. The limit may have come nearer since the sample by what is not ours: resident memory tells.
void relieve(State& state, size_t bytes) {
  if (state.relieving.exchange(true, std::memory_order_acquire)) return wait_for_relief(state);
  PressureView view;
  // Our share of a shared limit's room is used up: there may well be more.
  if (state.view.read(view) && is_shared(view) && wait_for_look(state, kLookNs, kLookStepNs) &&
      exposed_bytes() <= get(limit_mark)) {
    return state.relieving.store(false, std::memory_order_release);
  }
  emergencies.fetch_add(1, std::memory_order_relaxed);
  record_event(EventKind::emergency, bytes);
  uint64_t mark = get(limit_mark);
  if (state.view.read(view)) {
    const uint64_t resident = os::process_resident_bytes();
    const uint64_t exposed = exposed_bytes();
    const uint64_t ours = exposed > view.exposed_bytes ? exposed - view.exposed_bytes : 0;
    const uint64_t all = resident > view.sample.resident_bytes ? resident - view.sample.resident_bytes : 0;
    if (all > ours) mark = mark > all - ours ? mark - (all - ours) : 0;
  }
  const uint64_t over = exposed_bytes() > mark ? exposed_bytes() - mark : 0;
  // Some more than is missing, so that the next allocations need not come here each.
  const uint64_t more = bytes > kEmergencyStep ? bytes : kEmergencyStep;
  release_and_correct(over + more, mark);
  if (exposed_bytes() > mark && state.view.read(view) && is_shared(view) && wait_for_others(state)) {
    mark = get(limit_mark);
  }
  if (exposed_bytes() > mark) {
    ring(PressureLevel::emergency, PressureLevel::calm, exposed_bytes() - mark, nullptr, nullptr);
    // Not again and again, should the program have no answer.
    const uint64_t now = os::coarse_ns();
    if (now - get(state.waited_at_ns) >= kSecond) {
      set(state.waited_at_ns, now);
      wait_for_answer(kAnswerNs);
    }
    if (exposed_bytes() > mark) release_and_correct(exposed_bytes() - mark, mark);
  }
  if (exposed_bytes() > mark) mark = exposed_bytes() + kEmergencyStep;
  set(limit_mark, mark);
  state.relieving.store(false, std::memory_order_release);
  kick();
}

// The heap has grown a good deal: what lies in the depot goes back to its slabs, since a single spare object keeps a
// slab from being released, and slabs that are empty serve other classes. One thread at a time; the others go on.
PM_START void tidy(uint64_t mark) {
  // Relaxed: who fails has nothing to do.
  if (!tidy_mark.compare_exchange_strong(mark, kNoMark, std::memory_order_relaxed)) return;
  reclaim_counters.drained_bytes.fetch_add(depot_drain(SIZE_MAX), std::memory_order_relaxed);
  slab_trim();
  set(tidy_mark, tidy_mark_of(exposed_bytes()));
}

}  // namespace
}  // namespace pm::worker

namespace pm {

using namespace worker;

PM_START bool admit(size_t bytes, uint64_t before) {
  const bool handler = inside_lock();
  const uint64_t hard = hard_mark(bytes);
  const auto forbidden = [&] { return exposed_bytes() > hard && exposed_bytes() > before; };
  if (forbidden()) {
    if (!handler) {
      release_now(kRealLayers, exposed_bytes() - hard, Reason::emergency);
      // What another thread is about to give back counts until it is done.
      const uint64_t start = os::monotonic_ns();
      while (forbidden() && page_in_hand() && os::monotonic_ns() - start < kSecond / 2) os::yield_thread();
    }
    if (forbidden()) {
      refusals.fetch_add(1, std::memory_order_relaxed);
      note_refusal(bytes);
      if (!handler) ring(PressureLevel::emergency, PressureLevel::calm, bytes, nullptr, nullptr);
      return false;
    }
  }
  if (handler) return true;
  const uint64_t exposed = exposed_bytes();
  if (exposed > get(start_mark)) start_worker();
  if (exposed > get(age_mark)) look_at_age();
  if (const uint64_t mark = get(tidy_mark); exposed > mark) tidy(mark);
  State* const state = state_pointer.load(std::memory_order_acquire);
  if (state != nullptr && exposed > get(limit_mark)) {
    const Waiting waiting(*state, bytes);
    relieve(*state, bytes);
  }
  if (exposed > get(kick_mark)) kick();
  if (slicing.load(std::memory_order_relaxed)) maybe_slice(bytes);
  rearm();
  return true;
}

}  // namespace pm
