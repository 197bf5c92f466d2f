#include "magazine/rejected.h"

#include <atomic>

namespace pm {
namespace {

// Relaxed throughout: a slot is filled and emptied by one atomic operation, and nothing else hangs on it.
constexpr size_t kSlots = 32;
std::atomic<void*> slots[kSlots];
std::atomic<uint32_t> waiting{0};

}  // namespace

void keep_rejected(void* object) {
  for (std::atomic<void*>& slot : slots) {
    void* expected = nullptr;
    if (!slot.compare_exchange_strong(expected, object, std::memory_order_relaxed)) continue;
    waiting.fetch_add(1, std::memory_order_relaxed);
    return;
  }
}

void give_to_slabs(ClassId id, void** objects, size_t count) {
  const size_t refused = slab_deallocate(id, objects, count);
  for (size_t i = 0; i < refused; ++i) keep_rejected(objects[i]);
}

size_t take_rejected(void** out, size_t size) {
  if (waiting.load(std::memory_order_relaxed) == 0) return 0;
  size_t n = 0;
  for (size_t i = 0; i < kSlots && n < size; ++i) {
    void* const object = slots[i].exchange(nullptr, std::memory_order_relaxed);
    if (object == nullptr) continue;
    waiting.fetch_sub(1, std::memory_order_relaxed);
    out[n++] = object;
  }
  return n;
}

}  // namespace pm
