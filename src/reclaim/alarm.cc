#include "reclaim/alarm.h"

#include "os/process.h"

namespace pm {

Alarm alarm_bell;
EventSlot event_slots[kEventSlots];

namespace {

// The descriptor to write to for this slot, or a negative number.
int reach(unsigned slot, uint32_t generation, const os::RawThread* thread, BorrowedEvents* borrowed) {
  const int fd = event_slots[slot].fd.load(std::memory_order_relaxed);
  if (thread == nullptr || !thread->own_files) return fd;
  if (borrowed->generation[slot] != generation) {
    if (borrowed->generation[slot] != 0) os::close_file(borrowed->fd[slot]);
    borrowed->fd[slot] = os::borrow_file(*thread, fd);
    borrowed->generation[slot] = borrowed->fd[slot] < 0 ? 0 : generation;
  }
  return borrowed->generation[slot] == 0 ? -1 : borrowed->fd[slot];
}

}  // namespace

void ring(PressureLevel level, PressureLevel before, uint64_t wanted_bytes, const os::RawThread* thread,
          BorrowedEvents* borrowed) {
  if (level == PressureLevel::calm || (level <= before && wanted_bytes == 0)) return;
  for (unsigned slot = 0; slot < kEventSlots; ++slot) {
    // Acquire pairs with the release by whoever took the slot: its level and descriptor are there.
    const uint32_t generation = event_slots[slot].generation.load(std::memory_order_acquire);
    if ((generation & 1U) == 0 || event_slots[slot].level.load(std::memory_order_relaxed) > static_cast<uint8_t>(level))
      continue;
    const int fd = reach(slot, generation, thread, borrowed);
    const uint64_t one = 1;
    if (fd >= 0) os::write_all(fd, reinterpret_cast<const char*>(&one), sizeof one);
  }
  if (alarm_bell.listeners.load(std::memory_order_relaxed) == 0) return;
  alarm_bell.level.store(static_cast<uint8_t>(level), std::memory_order_relaxed);
  alarm_bell.wanted_bytes.store(wanted_bytes, std::memory_order_relaxed);
  // Release pairs with the listener's acquire.
  alarm_bell.rung.fetch_add(1, std::memory_order_release);
  os::wake_all(alarm_bell.rung);
}

void wait_for_answer(uint64_t timeout_ns) {
  if (alarm_bell.listeners.load(std::memory_order_relaxed) == 0) return;
  if (alarm_bell.listening_thread.load(std::memory_order_relaxed) == os::thread_id()) return;
  const uint32_t number = alarm_bell.rung.load(std::memory_order_relaxed);
  const uint64_t deadline = os::monotonic_ns() + timeout_ns;
  for (;;) {
    const uint32_t answered = alarm_bell.answered.load(std::memory_order_acquire);
    if (static_cast<int32_t>(answered - number) >= 0) return;
    const uint64_t now = os::monotonic_ns();
    if (now >= deadline) return;
    os::wait_on(alarm_bell.answered, answered, deadline - now);
  }
}

void alarm_after_fork_child() {
  alarm_bell.listeners.store(0, std::memory_order_relaxed);
  alarm_bell.listening_thread.store(0, std::memory_order_relaxed);
}

}  // namespace pm
