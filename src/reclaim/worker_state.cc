#include "reclaim/worker_state.h"

#include <new>

#include "os/process.h"
#include "os/vfork.h"
#include "page/exposure.h"

namespace pm::worker {

WorkerOptions settings = {};
std::atomic<uint64_t> start_bytes{0};
SeqCell<PressureOptions> changed_pressure;
std::atomic<uint32_t> changes{0};
std::atomic<State*> state_pointer{nullptr};
os::RawThread* thread = nullptr;
bool wiped_on_fork = false;
uintptr_t memory_start = 0;
size_t memory_bytes = 0;
std::atomic<uint64_t> scarce_bytes{0};
std::atomic<uint64_t> start_mark{kNoMark};
std::atomic<uint64_t> age_mark{kNoMark};
std::atomic<uint64_t> kick_mark{kNoMark};
std::atomic<uint64_t> limit_mark{kNoMark};
std::atomic<uint64_t> tidy_mark{kFirstTidyMark};
std::atomic<bool> slicing{false};
std::atomic<uint64_t> emergencies{0};
std::atomic<uint64_t> refusals{0};
std::atomic<uint64_t> refusal_noted_ns{0};
std::atomic<uint64_t> kicks{0};
std::atomic<uint64_t> young_since_ns{0};
std::atomic<int> young_process{0};

namespace {

constexpr uint64_t kNeverStart = 1024 * kGiB;  // the largest worker_start_bytes
// What a hard limit keeps back for small requests, so that an exception can be thrown and memory be given back; and
// what no request gets, because a new slab is noticed when it is there already.
constexpr uint64_t kReserveBytes = 512 * kKiB;
constexpr uint64_t kSlabBytes = 128 * kKiB;
constexpr size_t kSmallRequest = 4 * kKiB;

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

// Where a write is just under way the next round follows it.
void follow_changes(State& state, Engine& engine) {
  // Acquire pairs with the release of worker_reconfigure.
  const uint32_t version = changes.load(std::memory_order_acquire);
  PressureOptions options;
  if (version == state.configured || !changed_pressure.read(options)) return;
  engine.configure(options);
  state.configured = version;
}

void publish_marks(const Marks& marks) {
  set(kick_mark, marks.kick);
  set(limit_mark, marks.limit);
  rearm();
}

}  // namespace

Engine& engine_of(State& state) {
  if (state.has_engine) return *reinterpret_cast<Engine*>(state.engine);
  Engine* const engine = new (state.engine) Engine;
  engine->configure(settings.pressure);
  state.configured = 0;
  state.has_engine = true;
  return *engine;
}

PM_START uint64_t first_start_mark() {
  if (settings.mode == WorkerMode::always) return 0;
  const uint64_t large = get(start_bytes);
  if (settings.mode == WorkerMode::off || large == kNeverStart) return large;
  const uint64_t scarce = get(scarce_bytes);
  const uint64_t first = scarce != 0 ? scarce : kLimitLookBytes;
  return first < large ? first : large;
}

PM_START void set_first_marks() {
  set(start_mark, first_start_mark());
  set(age_mark, settings.mode == WorkerMode::automatic && settings.start_seconds != 0 ? kOldBytes : kNoMark);
}

PM_START uint64_t hard_mark(size_t bytes) {
  const uint64_t hard = get(own_limits.hard);
  if (hard == 0) return kNoMark;
  const uint64_t kept = bytes <= kSmallRequest ? kSlabBytes : kReserveBytes;
  return hard > kept ? hard - kept : 0;
}

PM_START void rearm() {
  uint64_t nearest = hard_mark(SIZE_MAX);
  for (const std::atomic<uint64_t>* mark : {&start_mark, &age_mark, &kick_mark, &limit_mark, &tidy_mark}) {
    if (get(*mark) < nearest) nearest = get(*mark);
  }
  mark_exposure(slicing.load(std::memory_order_relaxed) ? 0 : nearest < uint64_t{INT64_MAX} ? nearest : INT64_MAX);
}

State* own_state() {
  State* const state = state_pointer.load(std::memory_order_acquire);
  State* const found = state != nullptr ? state : map_state();
  if (found == nullptr || os::is_vfork_child()) return nullptr;
  const int me = os::process_id();
  const int owner = found->process.load(std::memory_order_acquire);
  if (owner == me) return found;
  if (owner != 0 || found->setting_up.exchange(true, std::memory_order_acquire)) return nullptr;
  // Release pairs with the acquire above.
  found->process.store(me, std::memory_order_release);
  return found;
}

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

void kick() {
  set(kick_mark, kNoMark);
  State* const state = state_pointer.load(std::memory_order_acquire);
  if (state == nullptr) return;
  kicks.fetch_add(1, std::memory_order_relaxed);
  state->bell.fetch_add(1, std::memory_order_release);
  os::wake_all(state->bell);
  set(state->next_slice_ns, 0);
}

}  // namespace pm::worker
