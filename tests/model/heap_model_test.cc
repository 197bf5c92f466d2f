// Random lists of operations on the heap against the reference of heap_oracle.h.
#include "tests/model/heap_oracle.h"

namespace {

using model::HeapOracle;
using model::Random;

constexpr size_t kMostBytes = 128 * pm::kMiB;
constexpr uint64_t kStepsPerPhase = 30000;

// Mostly small; now and then exactly at the edge of a class, a granule, a huge block or the last class.
size_t random_size(Random& random) {
  const uint64_t kind = random.below(1000);
  if (kind < 700) return random.of_bits(9);
  if (kind < 970) return random.of_bits(14);
  if (kind < 995) {
    constexpr size_t kEdges[] = {pm::kGranuleBytes, pm::kMaxClassSize, pm::kBlockBytes};
    const size_t edge =
        random.one_in(3) ? kEdges[random.below(3)]
                         : pm::size_class(static_cast<pm::ClassId>(1 + random.below(pm::class_table->count - 1))).size;
    return edge - 1 + random.below(3);
  }
  return random.of_bits(23);
}

// Objects grow and shrink in number from phase to phase, so that slabs, blocks and extents fill up and drain.
size_t random_target(Random& random) { return 50 + random.below(random.one_in(2) ? 1000 : 20000); }

void step(HeapOracle& heap, Random& random, size_t target) {
  const bool full = heap.objects() >= target || heap.bytes() >= kMostBytes;
  const uint64_t action = random.below(100);
  if (heap.objects() == 0 || action < (full ? 25U : 55U)) {
    const size_t size = random_size(random);
    if (action < 4) return heap.allocate_zeroed(size);
    if (action < 8) return heap.allocate_aligned(size_t{1} << random.below(random.one_in(50) ? 24 : 13), size);
    return heap.allocate(size);
  }
  const size_t which = random.below(heap.objects());
  if (action < 85) return random.one_in(4) ? heap.deallocate_sized(which) : heap.deallocate(which);
  if (action < 95) return heap.reallocate(which, random_size(random));
  heap.verify(which);
}

}  // namespace

int main(int count, char** words) {
  const model::Arguments run = model::arguments(count, words, 1000000);
  HOLDS(model::start_heap());
  // Both walk everything that is live: a debug build affords them more often, with fewer steps.
  constexpr uint64_t kStepsPerAudit = POOLMALLOC_DEBUG ? 200 : 5000;
  constexpr uint64_t kStepsPerReconcile = POOLMALLOC_DEBUG ? 2000 : 10000;
  Random random(run.seed);
  HeapOracle heap;
  size_t target = 0;
  for (uint64_t i = 0; i < run.steps; ++i) {
    if (i % kStepsPerPhase == 0) target = random_target(random);
    step(heap, random, target);
    if (random.one_in(5000)) pm::trim_heap(random.one_in(2) ? SIZE_MAX : random.of_bits(26));
    if (i % kStepsPerAudit == 0) HeapOracle::audit();
    if (i % kStepsPerReconcile == 0) heap.reconcile();
  }
  heap.verify_all();
  heap.clear();
  HeapOracle::audit();
  heap.reconcile();
  // Nothing is live: a trim leaves nothing resident that could be given back.
  pm::trim_heap(SIZE_MAX);
  HeapOracle::audit();
  heap.reconcile();
  pm::PageStatistics pages;
  pm::page_collect(pages);
  HOLDS(pages.dirty_bytes == 0);
  HOLDS(pages.clean_bytes == pages.committed_bytes);
}
