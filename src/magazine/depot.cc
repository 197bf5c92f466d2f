#include "magazine/depot.h"

#include <atomic>

#include "base/index_stack.h"
#include "os/memory.h"
#include "page/nodes.h"
#include "page/region.h"

namespace pm {
namespace {

template <typename T>
using StdAtomic = std::atomic<T>;

// Owned by whoever popped it; published by the push of the next stack.
struct alignas(kCacheLine) Batch {
  std::atomic<uint32_t> next;
  uint32_t count;
  void* objects[kMaxBatch];
};

struct alignas(kCacheLine) ClassDepot {
  IndexStack<StdAtomic> batches;
  std::atomic<uint32_t> objects{0};  // a hint for the statistics; relaxed
};

constexpr uint32_t kBatchesPerCommit = 16;
constexpr uint64_t kMostBatches = 256 * 1024;

Table<Batch> table;
IndexStack<StdAtomic> unused;
std::atomic<uint32_t> made{0};                      // batches handed out so far; their memory is committed
PM_WIDE ClassDepot depots[kMaxNodes][kMaxClasses];  // rows of nodes that there are not stay untouched
std::atomic<uint64_t> held_bytes{0};                // relaxed: a bound, not an account
std::atomic<uint64_t> limit{0};                     // relaxed: a setting
uint32_t most_batches = 0;

std::atomic<uint32_t>& link_of(uint32_t index) { return table[index].next; }

// A batch record to fill, or kNoIndex.
uint32_t new_batch() {
  const uint32_t reused = unused.pop(link_of);
  if (reused != kNoIndex) return reused;
  // Commits first and claims then: a refusal claims nothing, and committing what another thread claims is harmless.
  uint32_t first = made.load(std::memory_order_relaxed);
  do {
    if (first >= most_batches || !table.commit(first, kBatchesPerCommit)) return kNoIndex;
  } while (!made.compare_exchange_weak(first, first + kBatchesPerCommit, std::memory_order_relaxed));
  for (uint32_t i = 1; i < kBatchesPerCommit; ++i) unused.push(first + i, link_of);
  return first;
}

uint64_t smaller_of(uint64_t a, uint64_t b) { return a < b ? a : b; }
uint64_t larger_of(uint64_t a, uint64_t b) { return a > b ? a : b; }

// Small heaps keep little in the depot: a floor that makes batches pay at all, more of it where a sixteenth of what is
// committed allows, and a sixty-fourth where that is still more.
uint64_t allowed_bytes() {
  const uint64_t committed = region.committed_bytes();
  const uint64_t floor = larger_of(256 * kKiB, smaller_of(committed / 16, 512 * kKiB));
  const uint64_t wanted = larger_of(floor, committed / 64);
  const uint64_t most = limit.load(std::memory_order_relaxed);
  return smaller_of(wanted, most);
}

}  // namespace

bool depot_init(uint64_t limit_bytes) {
  depot_resize(limit_bytes);
  // A batch holds a kibibyte at least (64 objects of 16 bytes), but for single large objects.
  const uint64_t batches = limit_bytes / kKiB + kBatchesPerCommit;
  most_batches = static_cast<uint32_t>(align_down(batches < kMostBatches ? batches : kMostBatches, kBatchesPerCommit));
  return table.reserve(most_batches);
}

void depot_resize(uint64_t limit_bytes) { limit.store(limit_bytes, std::memory_order_relaxed); }

bool depot_put(unsigned node, ClassId id, void* const* objects, size_t count) {
  const uint64_t bytes = count * size_class(id).size;
  if (held_bytes.load(std::memory_order_relaxed) + bytes > allowed_bytes()) return false;
  const uint32_t index = new_batch();
  if (index == kNoIndex) return false;
  Batch& batch = table[index];
  batch.count = static_cast<uint32_t>(count);
  for (size_t i = 0; i < count; ++i) batch.objects[i] = objects[i];
  held_bytes.fetch_add(bytes, std::memory_order_relaxed);
  ClassDepot& depot = depots[node][id];
  depot.objects.fetch_add(batch.count, std::memory_order_relaxed);
  depot.batches.push(index, link_of);
  return true;
}

size_t depot_take(unsigned node, ClassId id, void** out) {
  ClassDepot& depot = depots[node][id];
  if (depot.batches.empty()) return 0;
  const uint32_t index = depot.batches.pop(link_of);
  if (index == kNoIndex) return 0;
  Batch& batch = table[index];
  const size_t count = batch.count;
  for (size_t i = 0; i < count; ++i) out[i] = batch.objects[i];
  held_bytes.fetch_sub(count * size_class(id).size, std::memory_order_relaxed);
  depot.objects.fetch_sub(static_cast<uint32_t>(count), std::memory_order_relaxed);
  unused.push(index, link_of);
  return count;
}

uint64_t depot_bytes() { return held_bytes.load(std::memory_order_relaxed); }
uint64_t depot_objects(ClassId id) {
  uint64_t objects = 0;
  for (unsigned node = 0; node < node_count(); ++node) {
    objects += depots[node][id].objects.load(std::memory_order_relaxed);
  }
  return objects;
}
size_t depot_table_bytes() { return table.resident_bytes(); }

}  // namespace pm
