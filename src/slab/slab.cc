#include "slab/slab.h"

#include "base/check.h"
#include "base/index_stack.h"
#include "os/cpu.h"
#include "os/memory.h"
#include "page/page.h"
#include "slab/slab_record.h"

namespace pm {
namespace {

constexpr unsigned kWords = kMaxSlots / 64;

template <typename T>
using StdAtomic = std::atomic<T>;

// Indexed by the slab's first granule.
struct alignas(kCacheLine) SlabRecord {
  std::atomic<uint32_t> next;  // link of the class's stack; see IndexStack
  uint32_t hollow;  // how many slots were free when their pages were decommitted; 0 once one was taken; the holder's
  SlabCore<StdAtomic, kWords> core;
};

struct alignas(kCacheLine) ClassSlabs {
  IndexStack<StdAtomic> partial;
  // Slabs that a free saw become empty since the last sweep, and how many slabs that sweep kept: hints, relaxed.
  std::atomic<uint32_t> empties{0};
  std::atomic<uint32_t> kept{0};
  // One sweep at a time; whoever finds it set goes without.
  std::atomic<bool> sweeping{false};
};

Table<SlabRecord> records;
Table<std::atomic<bool>> committed_blocks;
// By the node that the slabs lie on; the rows of nodes that there are not stay untouched.
PM_WIDE ClassSlabs classes[kMaxNodes][kMaxClasses];
std::atomic<uint64_t> created{0};
std::atomic<uint64_t> released{0};
std::atomic<uint64_t> sweeps{0};
std::atomic<uint64_t> hollowed_bytes{0};
// A fork waits for what has a stack in hand, which therefore hurries.
std::atomic<bool> forking{false};

std::atomic<uint32_t>& link_of(uint32_t index) { return records[index].next; }

uintptr_t slab_base(GranuleIndex first) { return region_view.base + (size_t{first} << kGranuleShift); }

void set_page_map(GranuleIndex first, uint32_t granules, ClassId id) {
  // Relaxed: a thread reads the byte for an object that it was handed after this.
  for (uint32_t i = 0; i < granules; ++i) __atomic_store_n(&region_view.page_map[first + i], id, __ATOMIC_RELAXED);
}

// Calls use(first granule, class) for every slab there is; a slab that comes or goes meanwhile may be met or not.
template <typename Use>
void each_slab(Use use) {
  region.each_used([&](GranuleIndex g, GranuleIndex end) {
    while (g < end) {
      const ClassId id = __atomic_load_n(&region_view.page_map[g], __ATOMIC_RELAXED);
      if (id == kNoClass) {
        ++g;
        continue;
      }
      const SizeClass& c = size_class(id);
      const GranuleIndex slab = g & ~(c.slab_granules - 1);
      use(slab, id);
      g = slab + c.slab_granules;
    }
  });
}

// Records are committed a huge block's at a time.
bool commit_record(GranuleIndex first) {
  const uint32_t block = first / kBlockGranules;
  // Acquire and release: whoever finds the flag set may touch the records. Committing twice is harmless.
  if (committed_blocks[block].load(std::memory_order_acquire)) return true;
  if (!records.commit(size_t{block} * kBlockGranules, kBlockGranules)) return false;
  committed_blocks[block].store(true, std::memory_order_release);
  return true;
}

// A new slab, active, held by the caller; kNoGranule if memory is refused.
GranuleIndex create_slab(ClassId id, Placement placement) {
  const SizeClass& c = size_class(id);
  bool clean = false;
  const GranuleIndex first = allocate_slab_run(c.slab_granules, &clean, placement);
  if (first == kNoGranule) return kNoGranule;
  if (!commit_record(first)) {
    release_slab_run(first, c.slab_granules);
    return kNoGranule;
  }
  records[first].hollow = 0;
  records[first].core.create(c.slots);
  set_page_map(first, c.slab_granules, id);
  created.fetch_add(1, std::memory_order_relaxed);
  return first;
}

// The caller holds the empty slab.
void release_slab(GranuleIndex first, ClassId id) {
  const SizeClass& c = size_class(id);
  records[first].core.destroy();
  set_page_map(first, c.slab_granules, kNoClass);
  release_slab_run(first, c.slab_granules);
  released.fetch_add(1, std::memory_order_relaxed);
}

ClassSlabs& home_of(GranuleIndex slab, ClassId id) { return classes[region.node_of(slab)][id]; }

void give_up(GranuleIndex first, ClassId id) {
  if (records[first].core.leave()) home_of(first, id).partial.push(first, link_of);
}

GranuleIndex hold_partial(unsigned node, ClassId id) {
  const GranuleIndex slab = classes[node][id].partial.pop(link_of);
  if (slab == kNoIndex) return kNoGranule;
  records[slab].core.hold();
  return slab;
}

// The thread's node has no partial slab of the class: a new one there, or whatever another node has.
PM_COLD GranuleIndex hold_new(unsigned node, ClassId id) {
  const unsigned nodes = node_count();
  if (PM_LIKELY(nodes == 1)) return create_slab(id, Placement::anywhere);
  GranuleIndex slab = create_slab(id, Placement::local);
  for (unsigned i = 1; i < nodes && slab == kNoGranule; ++i) slab = hold_partial(fallback_node(node, i), id);
  return slab != kNoGranule ? slab : create_slab(id, Placement::anywhere);
}

// Takes the whole stack, releases empty slabs but `keep`, and puts the others back so that the fullest is popped first:
// allocation then fills dense slabs and sparse ones drain. Returns the bytes released.
size_t sweep(ClassSlabs& slabs, ClassId id, uint32_t keep) {
  if (slabs.sweeping.exchange(true, std::memory_order_acquire)) return 0;
  slabs.empties.store(0, std::memory_order_relaxed);
  sweeps.fetch_add(1, std::memory_order_relaxed);
  const SizeClass& c = size_class(id);
  constexpr unsigned kBuckets = 8;  // by share of free slots
  struct Chain {
    uint32_t first = kNoIndex;
    uint32_t last = kNoIndex;
  } buckets[kBuckets];
  size_t bytes = 0;
  uint32_t kept = 0;
  uint32_t at = slabs.partial.take_all();
  while (at != kNoIndex) {
    const uint32_t next = link_of(at).load(std::memory_order_relaxed);
    const uint32_t free_slots = records[at].core.free_slots();
    if (free_slots == c.slots && keep == 0 && records[at].core.is_empty()) {
      release_slab(at, id);
      bytes += c.slab_granules * kGranuleBytes;
    } else {
      if (free_slots == c.slots && keep > 0) --keep;
      Chain& chain = buckets[free_slots * (kBuckets - 1) / c.slots];
      link_of(at).store(chain.first, std::memory_order_relaxed);
      if (chain.first == kNoIndex) chain.last = at;
      chain.first = at;
      ++kept;
    }
    at = next;
  }
  for (unsigned b = kBuckets; b-- > 0;) {
    if (buckets[b].first != kNoIndex) slabs.partial.push_chain(buckets[b].first, buckets[b].last, link_of);
  }
  slabs.kept.store(kept, std::memory_order_relaxed);
  // Release pairs with the acquire exchange above.
  slabs.sweeping.store(false, std::memory_order_release);
  return bytes;
}

// A free saw a slab become empty. A sweep costs as much as there are partial slabs, so it waits until an eighth of them
// is worth releasing.
void note_empty(ClassSlabs& slabs, ClassId id) {
  const uint32_t empties = slabs.empties.fetch_add(1, std::memory_order_relaxed) + 1;
  if (empties > 1 + slabs.kept.load(std::memory_order_relaxed) / 8) sweep(slabs, id, 1);
}

// Calls use(slabs, class) for every class on every node in use.
template <typename Use>
void each_home(Use use) {
  for (unsigned node = 0; node < node_count(); ++node) {
    for (unsigned id = 1; id < class_table->count; ++id) use(classes[node][id], static_cast<ClassId>(id));
  }
}

// Page ranges on their way to the system, in batches.
struct Batch {
  static constexpr size_t kMax = 128;
  os::PageRange ranges[kMax];
  size_t count = 0;
  size_t given = 0;

  void add(uintptr_t start, size_t bytes) {
    if (count == kMax) flush();
    ranges[count++] = {start, bytes};
  }
  void flush() {
    if (count != 0) given += os::memory().decommit(ranges, count);
    count = 0;
  }
};

// The pages of a slab that nobody allocates from meanwhile, as far as they hold free slots only.
void add_free_pages(GranuleIndex slab, const SizeClass& c, Batch& batch) {
  const uintptr_t base = slab_base(slab);
  const size_t page = os::page_size();
  if (!prepare_inner_decommit(slab, c.slab_granules)) return;
  records[slab].core.each_free_run([&](uint32_t first, uint32_t end) {
    const uintptr_t start = align_up(base + size_t{first} * c.size, page);
    const uintptr_t stop =
        end == c.slots ? base + c.slab_granules * kGranuleBytes : align_down(base + size_t{end} * c.size, page);
    if (start < stop) batch.add(start, stop - start);
  });
}

bool is_worth_hollowing(GranuleIndex slab, const SizeClass& c) {
  const uint32_t free_slots = records[slab].core.free_slots();
  return free_slots * 2 >= c.slots && free_slots > records[slab].hollow;
}

// Decommits the free pages of the class's sparse slabs. Those are off the stack for as long: other threads use the
// fuller ones.
PM_RARE size_t hollow_class(ClassSlabs& slabs, ClassId id) {
  if (slabs.sweeping.exchange(true, std::memory_order_acquire)) return 0;
  const SizeClass& c = size_class(id);
  uint32_t sparse = kNoIndex;
  for (uint32_t at = slabs.partial.take_all(); at != kNoIndex;) {
    const uint32_t next = link_of(at).load(std::memory_order_relaxed);
    if (is_worth_hollowing(at, c)) {
      link_of(at).store(sparse, std::memory_order_relaxed);
      sparse = at;
    } else {
      slabs.partial.push(at, link_of);
    }
    at = next;
  }
  Batch batch;
  for (uint32_t at = sparse; at != kNoIndex && !forking.load(std::memory_order_relaxed);
       at = link_of(at).load(std::memory_order_relaxed)) {
    records[at].hollow = records[at].core.free_slots();
    add_free_pages(at, c, batch);
  }
  batch.flush();
  while (sparse != kNoIndex) {
    const uint32_t next = link_of(sparse).load(std::memory_order_relaxed);
    slabs.partial.push(sparse, link_of);
    sparse = next;
  }
  // Release pairs with the acquire exchange above.
  slabs.sweeping.store(false, std::memory_order_release);
  hollowed_bytes.fetch_add(batch.given, std::memory_order_relaxed);
  return batch.given;
}

struct Place {
  GranuleIndex slab;
  uint32_t slot;
  bool exact;
};

Place place_of(const void* p, const SizeClass& c) {
  const GranuleIndex slab = region.granule_of(p) & ~(c.slab_granules - 1);
  const auto offset = static_cast<uint32_t>(address_of(p) - slab_base(slab));
  const uint32_t slot = slot_of(c, offset);
  return {slab, slot, slot * c.size == offset};
}

// Sets the bits of one word. False if one was set already: a racing double free.
bool put_bits(ClassId id, GranuleIndex slab, unsigned word, uint64_t mask) {
  SlabRecord& r = records[slab];
  const auto put = r.core.put(word, mask);
  if (put.revived) home_of(slab, id).partial.push(slab, link_of);
  // From here on the slab may be gone; what follows only looks.
  if (r.core.word_is_full(word) && r.core.is_empty()) note_empty(home_of(slab, id), id);
  return !put.double_free;
}

}  // namespace

bool slab_init() {
  const uint32_t blocks = region.window_granules() / kBlockGranules;
  return records.reserve(region.window_granules()) && committed_blocks.reserve(blocks) &&
         committed_blocks.commit(0, blocks);
}

size_t slab_allocate(ClassId id, void** out, size_t wanted) {
  const SizeClass& c = size_class(id);
  const unsigned node = this_node();
  size_t count = 0;
  while (count < wanted) {
    GranuleIndex slab = hold_partial(node, id);
    if (slab == kNoGranule) {
      // Rather a short batch than a new slab for its rest.
      if (count > 0) break;
      slab = hold_new(node, id);
      if (slab == kNoGranule) break;
    }
    records[slab].hollow = 0;
    const uintptr_t base = slab_base(slab);
    records[slab].core.take(static_cast<uint32_t>(wanted - count), [&](unsigned word, uint64_t mask) {
      for (; mask != 0; mask &= mask - 1) {
        const unsigned slot = word * 64 + static_cast<unsigned>(std::countr_zero(mask));
        out[count++] = reinterpret_cast<void*>(base + size_t{slot} * c.size);
      }
    });
    give_up(slab, id);
  }
  for (size_t i = 0; i < count / 2; ++i) {
    void* const other = out[i];
    out[i] = out[count - 1 - i];
    out[count - 1 - i] = other;
  }
  return count;
}

size_t slab_deallocate(ClassId id, void** objects, size_t count) {
  const SizeClass& c = size_class(id);
  size_t rejected = 0;
  for (size_t i = 0; i < count;) {
    const Place place = place_of(objects[i], c);
    if (!place.exact || place.slot >= c.slots || records[place.slab].core.is_free(place.slot)) {
      objects[rejected++] = objects[i++];
      continue;
    }
    // Neighbours in the batch that share the word share the instruction.
    const unsigned word = place.slot / 64;
    uint64_t mask = uint64_t{1} << (place.slot % 64);
    for (++i; i < count; ++i) {
      const Place other = place_of(objects[i], c);
      const uint64_t bit = uint64_t{1} << (other.slot % 64);
      if (other.slab != place.slab || other.slot / 64 != word || !other.exact || other.slot >= c.slots ||
          (mask & bit) != 0 || records[other.slab].core.is_free(other.slot)) {
        break;
      }
      mask |= bit;
    }
    if (!put_bits(id, place.slab, word, mask)) objects[rejected++] = objects[i - 1];
  }
  return rejected;
}

size_t slab_trim() {
  size_t bytes = 0;
  each_home([&](ClassSlabs& slabs, ClassId id) {
    if (!slabs.partial.empty()) bytes += sweep(slabs, id, 0);
  });
  return bytes;
}

size_t slab_decommit(size_t goal) {
  size_t bytes = 0;
  each_home([&](ClassSlabs& slabs, ClassId id) {
    if (bytes >= goal || slabs.partial.empty()) return;
    bytes += hollow_class(slabs, id);
    // What was in hand lies on top now.
    sweep(slabs, id, 0);
  });
  return bytes;
}

bool slab_in_hand() {
  bool found = false;
  // Acquire pairs with the release at the end of a sweep: who finds none under way finds what it put back.
  each_home([&](const ClassSlabs& slabs, ClassId) { found = found || slabs.sweeping.load(std::memory_order_acquire); });
  return found;
}

uint64_t slab_empty_bytes() {
  uint64_t bytes = 0;
  each_home([&](const ClassSlabs& slabs, ClassId id) {
    bytes += slabs.empties.load(std::memory_order_relaxed) * (size_class(id).slab_granules * kGranuleBytes);
  });
  return bytes;
}

SlotPlace slab_find(const void* p) {
  const ClassId id = class_at(p);
  const SizeClass& c = size_class(id);
  const Place place = place_of(p, c);
  if (place.slot >= c.slots) return {id, nullptr, false, false};
  void* const object = reinterpret_cast<void*>(slab_base(place.slab) + size_t{place.slot} * c.size);
  return {id, object, place.exact, records[place.slab].core.is_free(place.slot)};
}

PM_RARE void slab_collect(SlabClassStatistics (&rows)[kMaxClasses]) {
  for (SlabClassStatistics& row : rows) row = {};
  each_slab([&](GranuleIndex slab, ClassId id) {
    ++rows[id].slabs;
    rows[id].slots += size_class(id).slots;
    rows[id].free_slots += records[slab].core.free_slots();
  });
}

SlabCounters slab_counters() {
  return {created.load(std::memory_order_relaxed), released.load(std::memory_order_relaxed),
          sweeps.load(std::memory_order_relaxed), hollowed_bytes.load(std::memory_order_relaxed)};
}

size_t slab_table_bytes() { return records.resident_bytes(); }

void slab_audit() {
  each_home([](const ClassSlabs& slabs, ClassId id) {
    for (uint32_t at = slabs.partial.peek(); at != kNoIndex; at = link_of(at).load(std::memory_order_relaxed)) {
      PM_CHECK(records[at].core.state() == SlabState::partial);
      PM_CHECK(records[at].core.slots() == size_class(id).slots);
      PM_CHECK(region_view.page_map[at] == id);
      PM_CHECK(&home_of(at, id) == &slabs);
    }
  });
}

// A sweep has a class's whole stack in hand: wait until none is under way, and let none start. (Bounded, should this
// very thread have been interrupted inside one: the child then misses the slabs in hand, which is memory, not safety.
// So it does if the heap learns its nodes in this very moment and sweeps one of the new.)
void slab_before_fork() {
  forking.store(true, std::memory_order_relaxed);
  each_home([](ClassSlabs& slabs, ClassId) {
    for (unsigned i = 0; i < 1000000 && slabs.sweeping.exchange(true, std::memory_order_acquire); ++i) os::pause_cpu();
  });
}

void slab_after_fork() {
  forking.store(false, std::memory_order_relaxed);
  each_home([](ClassSlabs& slabs, ClassId) { slabs.sweeping.store(false, std::memory_order_release); });
}

}  // namespace pm
