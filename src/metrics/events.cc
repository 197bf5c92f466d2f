#include "metrics/events.h"

#include <atomic>
#include <cstring>

#include "base/probe.h"
#include "os/process.h"

namespace pm {
namespace {

constexpr size_t kWords = sizeof(Event) / sizeof(uint64_t);
constexpr uint64_t kBusy = UINT64_MAX;

// A slot's stamp is the number of its event, counted from 1, or kBusy while it is written. Release by the writer pairs
// with acquire by the reader; the words are relaxed, because a copy that the stamp does not vouch for is thrown away.
struct Slot {
  std::atomic<uint64_t> stamp;
  std::atomic<uint64_t> words[kWords];
};

Slot slots[kMaxEvents];
std::atomic<uint64_t> recorded{0};  // relaxed: gives numbers out

// What docs/tools.md says of the probes: names, and what their two arguments are.
void probe(const Event& event) {
  switch (event.kind) {
    case EventKind::decommit: PM_PROBE(decommit, event.bytes, event.reason); break;
    case EventKind::drain: PM_PROBE(drain, event.bytes, event.reason); break;
    case EventKind::prefault: PM_PROBE(prefault, event.bytes, 0); break;
    case EventKind::collapse: PM_PROBE(collapse, event.bytes, 0); break;
    case EventKind::level: PM_PROBE(level, event.from, event.to); break;
    case EventKind::trim: PM_PROBE(trim, event.bytes, 0); break;
    case EventKind::emergency: PM_PROBE(limit, event.bytes, 0); break;
    case EventKind::refusal: PM_PROBE(limit, event.bytes, 1); break;
    default: break;
  }
}

void record(Event event) {
  probe(event);
  event.time_ns = os::monotonic_ns();
  event.process = static_cast<uint32_t>(os::process_id());
  uint64_t words[kWords];
  memcpy(words, &event, sizeof event);
  const uint64_t number = recorded.fetch_add(1, std::memory_order_relaxed) + 1;
  Slot& slot = slots[number % kMaxEvents];
  if (slot.stamp.exchange(kBusy, std::memory_order_acquire) == kBusy) return;
  // Pairs with the reader's fence: who sees one of these words sees that the slot is busy.
  std::atomic_thread_fence(std::memory_order_release);
  for (size_t i = 0; i < kWords; ++i) slot.words[i].store(words[i], std::memory_order_relaxed);
  slot.stamp.store(number, std::memory_order_release);
}

bool read_slot(const Slot& slot, uint64_t number, Event& out) {
  if (slot.stamp.load(std::memory_order_acquire) != number) return false;
  uint64_t words[kWords];
  for (size_t i = 0; i < kWords; ++i) words[i] = slot.words[i].load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (slot.stamp.load(std::memory_order_relaxed) != number) return false;
  memcpy(static_cast<void*>(&out), words, sizeof out);
  return true;
}

}  // namespace

void record_event(EventKind kind, uint64_t bytes, uint8_t reason) {
  record({.time_ns = 0, .bytes = bytes, .process = 0, .kind = kind, .reason = reason, .from = 0, .to = 0});
}

void record_level(uint8_t from, uint8_t to) {
  record({.time_ns = 0, .bytes = 0, .process = 0, .kind = EventKind::level, .reason = 0, .from = from, .to = to});
}

void each_event(void (*use)(void*, const Event&), void* context) {
  const auto me = static_cast<uint32_t>(os::process_id());
  const uint64_t last = recorded.load(std::memory_order_relaxed);
  for (uint64_t number = last > kMaxEvents ? last - kMaxEvents + 1 : 1; number <= last; ++number) {
    Event event;
    if (read_slot(slots[number % kMaxEvents], number, event) && event.process == me) use(context, event);
  }
}

}  // namespace pm
