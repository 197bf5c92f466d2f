#include "operations.h"

#include <cstdio>
#include <cstdlib>

#include "heap/heap.h"
#include "magazine/access.h"
#include "magazine/depot.h"
#include "magazine/magazine.h"
#include "page/page.h"
#include "slab/slab.h"

namespace bench {
namespace {

using namespace pm;

constexpr size_t kSize = 64;
constexpr size_t kBatch = 32;
constexpr size_t kLargeBytes = 256 * kKiB;
constexpr uint32_t kBurst = 512;
void* objects[kBurst];
void* scratch[kMaxBatch];

template <typename T>
void keep(T value) {
  asm volatile("" : : "g"(value) : "memory");
}

void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "bench-micro: %s\n", what);
  std::exit(1);
}

ClassId small_class() { return class_of(kSize); }
const void* here() { return reinterpret_cast<const void*>(&small_class); }

void no_preparation() {}

// The loop that all others have around them.
void run_nothing(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) keep(i);
}

void run_class_of(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) keep(class_of(i * 61 & 0xffff));
}

void prepare_objects() {
  for (void*& object : objects) object = allocate(kSize);
  for (void* object : objects) deallocate(object, here());
  objects[0] = allocate(kSize);
  check(objects[0] != nullptr, "no memory");
}

void run_page_map(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) keep(class_at(static_cast<char*>(objects[0]) + (i & 63)));
}

void* pop(ClassId id) {
  Popped popped;
  check(magazine_pop(id, popped) == Pop::done, "the magazine is empty");
  return popped.object;
}

void run_pop_push(uint64_t times) {
  const ClassId id = small_class();
  for (uint64_t i = 0; i < times; ++i) {
    void* const object = pop(id);
    keep(object);
    check(magazine_push(id, object) == Push::done, "the magazine is full");
  }
}

void run_pop_push_locked(uint64_t times) {
  const ClassId id = small_class();
  for (uint64_t i = 0; i < times; ++i) {
    const uint32_t cpu = LockedAccess::cpu();
    void* const object = LockedAccess::pop(cpu, id);
    check(object != nullptr, "the magazine is empty");
    check(LockedAccess::push(cpu, id, object) == Push::done, "the magazine is full");
  }
}

#if PM_HAS_RSEQ
void run_batches_of_magazine(uint64_t times) {
  const ClassId id = small_class();
  for (uint64_t i = 0; i < times; ++i) {
    const uint32_t cpu = RseqAccess::cpu();
    const uint32_t n = RseqAccess::pop_batch(cpu, id, scratch, kBatch);
    check(n == kBatch && RseqAccess::push_batch(cpu, id, scratch, n) == n, "the magazine is too small");
  }
}

// A refill is what a pop from an empty magazine leads to; the objects go back the way they came.
void empty_magazine() {
  for (uint32_t n; (n = RseqAccess::pop_batch(RseqAccess::cpu(), small_class(), scratch, kMaxBatch)) != 0;) {
    check(slab_deallocate(small_class(), scratch, n) == 0, "the slabs refuse objects");
  }
}

void empty_depot() {
  while (const size_t n = depot_take(0, small_class(), scratch)) {
    check(slab_deallocate(small_class(), scratch, n) == 0, "the slabs refuse objects");
  }
}

void prepare_empty() {
  prepare_objects();
  empty_magazine();
  empty_depot();
}

void run_refill_from_slab(uint64_t times) {
  const ClassId id = small_class();
  for (uint64_t i = 0; i < times; ++i) {
    scratch[0] = magazine_refill(id);
    const uint32_t n = RseqAccess::pop_batch(RseqAccess::cpu(), id, scratch + 1, kMaxBatch - 1);
    check(n > 0 && slab_deallocate(id, scratch, n + 1) == 0, "the refill brought nothing");
  }
}

void prepare_depot() {
  prepare_empty();
  const size_t n = slab_allocate(small_class(), scratch, size_class(small_class()).batch);
  check(depot_put(0, small_class(), scratch, n), "the depot is full");
}

void run_refill_from_depot(uint64_t times) {
  const ClassId id = small_class();
  for (uint64_t i = 0; i < times; ++i) {
    scratch[0] = magazine_refill(id);
    const uint32_t n = RseqAccess::pop_batch(RseqAccess::cpu(), id, scratch + 1, kMaxBatch - 1);
    check(n > 0 && depot_put(0, id, scratch, n + 1), "the refill brought nothing");
  }
}

// Full, and as large as it will get: many objects in a row have not made it grow.
void prepare_full() {
  prepare_empty();
  const ClassId id = small_class();
  uint64_t grown = 0;
  for (int calm = 0; calm < 10'000; ++calm) {
    void* object;
    check(slab_allocate(id, &object, 1) == 1, "no memory");
    if (magazine_push(id, object) != Push::done) magazine_overflow(id, object);
    if (magazine_counters().grows != grown) calm = 0;
    grown = magazine_counters().grows;
  }
  for (bool room = true; room;) {
    void* object;
    check(slab_allocate(id, &object, 1) == 1, "no memory");
    room = magazine_push(id, object) == Push::done;
    if (!room) check(slab_deallocate(id, &object, 1) == 0, "the slabs refuse an object");
  }
  empty_depot();
}

// A flush is what a push to a full magazine leads to: a batch goes to the depot.
void run_flush(uint64_t times) {
  const ClassId id = small_class();
  for (uint64_t i = 0; i < times; ++i) {
    void* object = pop(id);
    void* const other = pop(id);
    check(magazine_push(id, object) == Push::done, "no room");
    check(magazine_push(id, other) == Push::done, "no room");
    check(slab_allocate(id, &object, 1) == 1 && magazine_overflow(id, object) == Overflow::done, "no flush");
    const size_t n = depot_take(0, id, scratch);
    check(n > 1, "the flush went elsewhere");
    check(RseqAccess::push_batch(RseqAccess::cpu(), id, scratch, static_cast<uint32_t>(n - 1)) == n - 1, "no room");
    check(slab_deallocate(id, scratch + n - 1, 1) == 0, "the slabs refuse an object");
  }
}
#endif

void run_allocate_deallocate(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) {
    void* const object = allocate_inline(kSize);
    keep(object);
    if (!deallocate_fast(object)) deallocate_cold(object, here());
  }
}

void run_burst(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) {
    for (void*& object : objects) object = allocate_inline(kSize);
    for (void* object : objects) {
      if (!deallocate_fast(object)) deallocate_cold(object, here());
    }
  }
}

void prepare_batch() { check(slab_allocate(small_class(), scratch, kBatch) == kBatch, "no memory"); }

void run_depot(uint64_t times) {
  const ClassId id = small_class();
  for (uint64_t i = 0; i < times; ++i) {
    check(depot_put(0, id, scratch, kBatch), "the depot is full");
    check(depot_take(0, id, scratch) == kBatch, "the depot is empty");
  }
}

template <size_t kCount>
void run_slab(uint64_t times) {
  const ClassId id = small_class();
  for (uint64_t i = 0; i < times; ++i) {
    check(slab_allocate(id, scratch, kCount) == kCount, "no memory");
    check(slab_deallocate(id, scratch, kCount) == 0, "the slabs refuse objects");
  }
}

// One run stays, so that its block is not made and given back in each turn.
void prepare_slab_run() {
  bool clean;
  check(allocate_slab_run(1, &clean) != kNoGranule, "no memory");
}

void run_slab_run(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) {
    bool clean;
    const GranuleIndex first = allocate_slab_run(1, &clean);
    check(first != kNoGranule, "no memory");
    release_slab_run(first, 1);
  }
}

// A chunk beside the shards' own, in which every second granule is taken, and a rest in one piece. Its first and last
// granule are never free, so that it does not merge with what shard 0 has around it.
constexpr uint8_t kOwnShard = 0;
constexpr uint32_t kGranules = 4096;
Extents extents{kOwnShard};

void prepare_extents() {
  const Region::Chunk chunk = region.grow(kGranules, kOwnShard);
  check(chunk.granules >= kGranules, "no memory");
  extents.release(chunk.first + 1, chunk.granules - 2);
  GranuleIndex single[1024];
  for (GranuleIndex& one : single) one = extents.allocate(1, 1);
  for (size_t i = 0; i < std::size(single); i += 2) extents.release(single[i], 1);
}

// The same size again and again finds what was released last; two sizes in turn have to search and to coalesce.
void run_extents_same(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) extents.release(extents.allocate(1, 1), 1);
}

void run_extents_mixed(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) {
    const GranuleIndex a = extents.allocate(3, 1);
    const GranuleIndex b = extents.allocate(1, 1);
    extents.release(a, 3);
    extents.release(b, 1);
  }
}

void prepare_large() {
  void* const object = allocate_large(kLargeBytes, kSizeStep, false);
  void* start;
  check(object != nullptr && free_large(object, &start) == FreeLarge::done, "no memory");
}

void run_large(uint64_t times) {
  for (uint64_t i = 0; i < times; ++i) {
    void* const object = allocate_large(kLargeBytes, kSizeStep, false);
    void* start;
    check(object != nullptr && free_large(object, &start) == FreeLarge::done, "no memory");
  }
}

}  // namespace

const std::vector<Operation>& operations() {
  static const std::vector<Operation> all = {
    {"the loop alone", Needs::nothing, no_preparation, run_nothing},
    {"class_of", Needs::nothing, no_preparation, run_class_of},
    {"page map: class_at", Needs::nothing, prepare_objects, run_page_map},
#if PM_HAS_RSEQ
    {"magazine pop + push, rseq", Needs::rseq, prepare_objects, run_pop_push},
    {"magazine pop_batch(32) + push_batch(32), rseq", Needs::rseq, prepare_objects, run_batches_of_magazine},
    {"refill from a slab, and back", Needs::rseq, prepare_empty, run_refill_from_slab},
    {"refill from the depot, and back", Needs::rseq, prepare_depot, run_refill_from_depot},
    {"flush to the depot, and back", Needs::rseq, prepare_full, run_flush},
    {"allocate(64) + deallocate, rseq", Needs::rseq, prepare_objects, run_allocate_deallocate},
    {"a pair of 512 allocate(64), 512 deallocate, rseq", Needs::rseq, prepare_objects, run_burst, kBurst},
#endif
    {"magazine pop + push, locked", Needs::locked, prepare_objects, run_pop_push_locked},
    {"allocate(64) + deallocate, locked", Needs::locked, prepare_objects, run_allocate_deallocate},
    {"depot_put(32) + depot_take", Needs::nothing, prepare_batch, run_depot},
    {"slab_allocate(1) + slab_deallocate(1)", Needs::nothing, prepare_batch, run_slab<1>},
    {"slab_allocate(32) + slab_deallocate(32)", Needs::nothing, prepare_batch, run_slab<32>},
    {"allocate_slab_run(1) + release_slab_run(1)", Needs::nothing, prepare_slab_run, run_slab_run},
    {"extents: allocate(1) + release", Needs::nothing, prepare_extents, run_extents_same},
    {"extents: allocate(3), (1) + release both", Needs::nothing, prepare_extents, run_extents_mixed},
    {"allocate_large(256 KiB) + free_large, from the free list", Needs::nothing, prepare_large, run_large},
  };
  return all;
}

}  // namespace bench
