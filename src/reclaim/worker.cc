#include "reclaim/worker.h"

#include <cerrno>
#include <cstring>
#include <new>

#include "base/seq_cell.h"
#include "metrics/events.h"
#include "os/memory.h"
#include "os/process.h"
#include "page/exposure.h"

namespace pm {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMs;
// Programs that are over in a moment get no look at all.
constexpr uint64_t kFirstSleepNs = 10 * kMs;
constexpr uint64_t kFilesNs = 200 * kMs;    // between looks at the sensors' files
constexpr uint64_t kPlaceNs = 2 * kSecond;  // between looks whether the worker is in its place
constexpr uint64_t kOldBytes = 4 * kMiB;    // less is too small to look at
constexpr uint64_t kTryAgainBytes = 16 * kMiB;
// From this size on a worker looks once how much memory there is: where that is little, small heaps matter as well.
constexpr uint64_t kLimitLookBytes = 8 * kMiB;
constexpr uint64_t kWorthShare = 32;           // of the limit: a heap that is worth a worker
constexpr uint64_t kNeverStart = 1024 * kGiB;  // the largest worker_start_bytes
constexpr uint64_t kRetryNs = 10 * kSecond;    // after the system refused a thread
constexpr uint64_t kSliceEveryNs = 500 * kMs;
constexpr uint64_t kSliceNs = kMs;
constexpr uint64_t kParkWaitNs = 50 * kMs;
constexpr uint64_t kAnswerNs = 50 * kMs;
constexpr uint64_t kOthersNs = kSecond;  // how long an allocation waits for other processes under the same limit
constexpr uint64_t kOthersStepNs = 10 * kMs;
constexpr uint64_t kLookNs = 5 * kMs;  // and for the worker's look at what others left
constexpr uint64_t kLookStepNs = kMs / 2;
constexpr uint64_t kVainNs = 5 * kSecond;
// What a hard limit keeps back for small requests, so that an exception can be thrown and memory be given back; and
// what no request gets, because a new slab is noticed when it is there already.
constexpr uint64_t kReserveBytes = 512 * kKiB;
constexpr uint64_t kSlabBytes = 128 * kKiB;
constexpr size_t kSmallRequest = 4 * kKiB;
// After an emergency that could not make room: how much more until the next.
constexpr uint64_t kEmergencyStep = 4 * kMiB;

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

WorkerOptions settings = {};
// What of the settings changed since: written by one thread at a time (the runtime's lock), read by whoever has a turn.
std::atomic<uint64_t> start_bytes{0};
SeqCell<PressureOptions> changed_pressure;
std::atomic<uint32_t> changes{0};
// Set once; constant afterwards. Release pairs with the acquire of whoever finds it set.
std::atomic<State*> state_pointer{nullptr};
os::RawThread* thread = nullptr;
bool wiped_on_fork = false;
uintptr_t memory_start = 0;
size_t memory_bytes = 0;

// The heap that is worth a worker by the limit; 0 until one has looked at that.
std::atomic<uint64_t> scarce_bytes{0};

// Marks in bytes of exposure; see marks.h. Relaxed: whoever reads an old one acts a moment later.
std::atomic<uint64_t> start_mark{kNoMark};
std::atomic<uint64_t> age_mark{kNoMark};
std::atomic<uint64_t> kick_mark{kNoMark};
std::atomic<uint64_t> limit_mark{kNoMark};
std::atomic<bool> slicing{false};  // rounds run on slow paths

std::atomic<uint64_t> emergencies{0};
std::atomic<uint64_t> refusals{0};
std::atomic<uint64_t> refusal_noted_ns{0};  // relaxed: two that come at once may both be noted
std::atomic<uint64_t> kicks{0};

// Since when, and of which process, its age is counted: from the first look at it. Relaxed: hints, and two threads that
// look at once write the same.
std::atomic<uint64_t> young_since_ns{0};
std::atomic<int> young_process{0};

uint64_t get(const std::atomic<uint64_t>& value) { return value.load(std::memory_order_relaxed); }
void set(std::atomic<uint64_t>& value, uint64_t to) { value.store(to, std::memory_order_relaxed); }

// Made by the first holder of the turn, not by the thread that starts the worker: it touches a hundred kilobytes.
Engine& engine_of(State& state) {
  if (state.has_engine) return *reinterpret_cast<Engine*>(state.engine);
  Engine* const engine = new (state.engine) Engine;
  engine->configure(settings.pressure);
  state.configured = 0;
  state.has_engine = true;
  return *engine;
}

// The heap that is worth a worker, or one that is worth its look at the limit.
uint64_t first_start_mark() {
  if (settings.mode == WorkerMode::always) return 0;
  const uint64_t large = get(start_bytes);
  if (settings.mode == WorkerMode::off || large == kNeverStart) return large;
  const uint64_t scarce = get(scarce_bytes);
  const uint64_t first = scarce != 0 ? scarce : kLimitLookBytes;
  return first < large ? first : large;
}

uint64_t hard_mark(size_t bytes) {
  const uint64_t hard = get(own_limits.hard);
  if (hard == 0) return kNoMark;
  const uint64_t kept = bytes <= kSmallRequest ? kSlabBytes : kReserveBytes;
  return hard > kept ? hard - kept : 0;
}

// The nearest mark is the one that the page layer's callers compare with. Slices look at every slow path.
PM_START void rearm() {
  uint64_t nearest = hard_mark(SIZE_MAX);
  for (const std::atomic<uint64_t>* mark : {&start_mark, &age_mark, &kick_mark, &limit_mark}) {
    if (get(*mark) < nearest) nearest = get(*mark);
  }
  mark_exposure(slicing.load(std::memory_order_relaxed) ? 0 : nearest < uint64_t{INT64_MAX} ? nearest : INT64_MAX);
}

void publish_marks(const Marks& marks) {
  set(kick_mark, marks.kick);
  set(limit_mark, marks.limit);
  rearm();
}

State* map_state() {
  static std::atomic<bool> mapping{false};
  // One thread maps; who comes meanwhile goes without, this once.
  if (mapping.exchange(true, std::memory_order_acquire)) return state_pointer.load(std::memory_order_acquire);
  const os::ThreadMemory memory = os::map_thread_memory(sizeof(State));
  if (memory.thread != nullptr) {
    thread = memory.thread;
    wiped_on_fork = memory.wiped;
    memory_start = memory.start;
    memory_bytes = memory.bytes;
    state_pointer.store(static_cast<State*>(memory.kept), std::memory_order_release);
  } else {
    mapping.store(false, std::memory_order_release);
  }
  return state_pointer.load(std::memory_order_acquire);
}

// This process's state, set up; nullptr if there is no memory, another thread is at it, or it belongs to the process
// that this one borrows its memory from (vfork).
State* own_state() {
  State* const state = state_pointer.load(std::memory_order_acquire);
  State* const found = state != nullptr ? state : map_state();
  if (found == nullptr) return nullptr;
  const int me = os::process_id();
  const int owner = found->process.load(std::memory_order_acquire);
  if (owner == me) return found;
  if (owner != 0 || found->setting_up.exchange(true, std::memory_order_acquire)) return nullptr;
  // Release pairs with the acquire above.
  found->process.store(me, std::memory_order_release);
  return found;
}

bool never(void*) { return false; }

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

// Where a write is just under way the next round follows it.
void follow_changes(State& state, Engine& engine) {
  // Acquire pairs with the release of worker_reconfigure.
  const uint32_t version = changes.load(std::memory_order_acquire);
  PressureOptions options;
  if (version == state.configured || !changed_pressure.read(options)) return;
  engine.configure(options);
  state.configured = version;
}

// An allocation that must not be touched before it is known to fit.
struct Waiting {
  Waiting(State& s, uint64_t n) : state(s), bytes(n) { state.untouched.fetch_add(bytes, std::memory_order_relaxed); }
  ~Waiting() { state.untouched.fetch_sub(bytes, std::memory_order_relaxed); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  State& state;
  const uint64_t bytes;
};

// The holder of the turn runs a round and tells everybody what it found.
uint64_t run_round(State& state, const os::RawThread* raw, Engine::Hurry hurry, uint64_t most_ns) {
  Engine& engine = engine_of(state);
  follow_changes(state, engine);
  const uint64_t next = engine.round(raw, hurry, &state, most_ns, get(state.untouched));
  state.view.write(engine.view());
  set(state.cpu_ns, engine.cpu_ns());
  publish_marks(engine.marks());
  // Release: who waits for a look finds its marks.
  state.looks.fetch_add(1, std::memory_order_release);
  os::wake_all(state.looks);
  return next;
}

// The raw thread.

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

// The program's threads.

void note_start(State& state) {
  state.starts.fetch_add(1, std::memory_order_relaxed);
  set(start_mark, kNoMark);
  // One that only looks at the limit may go again.
  if (state.wanted.load(std::memory_order_relaxed) || exposed_bytes() >= get(start_bytes)) set(age_mark, kNoMark);
  record_event(EventKind::worker, exposed_bytes());
}

// Has a worker started, or makes slices do. Outside of locks. If not even that can be now, it is tried again when the
// heap has grown some more.
void start_worker(bool wanted = false) {
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

// At most once a second: a program may go on asking.
void note_refusal(size_t bytes) {
  const uint64_t now = os::coarse_ns();
  if (now - get(refusal_noted_ns) < kSecond) return;
  set(refusal_noted_ns, now);
  record_event(EventKind::refusal, bytes);
}

// The process has some heap. Counted by process, so that a forked child is young again, with or without handlers.
void look_at_age() {
  const uint64_t now = os::coarse_ns();
  const uint64_t since = get(young_since_ns);
  if (since != 0 && now - since < settings.start_seconds * kSecond) return;
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

void kick() {
  set(kick_mark, kNoMark);
  State* const state = state_pointer.load(std::memory_order_acquire);
  if (state == nullptr) return;
  kicks.fetch_add(1, std::memory_order_relaxed);
  state->bell.fetch_add(1, std::memory_order_release);
  os::wake_all(state->bell);
  set(state->next_slice_ns, 0);
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

void set_first_marks() {
  set(start_mark, first_start_mark());
  set(age_mark, settings.mode == WorkerMode::automatic && settings.start_seconds != 0 ? kOldBytes : kNoMark);
}

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

bool admit(size_t bytes, uint64_t before) {
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

bool worker_was_started() {
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
