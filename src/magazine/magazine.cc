#include "magazine/magazine.h"

#include "base/check.h"
#include "magazine/arming.h"
#include "magazine/depot.h"
#include "magazine/layout.h"
#include "magazine/rejected.h"
#include "magazine/sampling.h"
#include "os/memory.h"
#include "page/nodes.h"

#if defined(POOLMALLOC_INJECT)
extern "C" {
__attribute__((visibility("default"))) uint64_t pm_inject_delay = 0;
}
#endif

namespace pm {

char* magazine_blocks = nullptr;
char* hot_blocks = nullptr;
uint32_t magazine_cpus = 0;
BlockLock block_locks[kLockedBlocks];
char* locked_blocks = nullptr;
uint32_t locked_block_count = 0;
std::atomic<bool> locked_blocks_used{false};

namespace {

MagazineMode mode = MagazineMode::locked;
bool uses_mm_cid = false;
size_t rseq_bytes = 0;
size_t locked_bytes = 0;
bool sampled_ever = false;  // layout lock

// Relaxed counters of cold events, spread by CPU so that many CPUs do not share a line.
struct alignas(kCacheLine) Events {
  std::atomic<uint64_t> refills{0};
  std::atomic<uint64_t> flushes{0};
  std::atomic<uint64_t> depot_hits{0};
  std::atomic<uint64_t> slab_refills{0};
  std::atomic<uint64_t> direct{0};  // objects that went past the magazines
  // With several memory nodes only.
  std::atomic<uint64_t> remote_refills{0};
  std::atomic<uint64_t> remote_frees{0};
};
constexpr uint32_t kEventCells = 64;
PM_WIDE Events events[kEventCells];

void count(std::atomic<uint64_t> Events::*event, uint64_t n = 1) {
  (events[os::current_cpu() % kEventCells].*event).fetch_add(n, std::memory_order_relaxed);
}

bool is_remote(const void* p, unsigned node) { return region.node_of(region.granule_of(p)) != node; }

// Gives objects of other nodes back to their slabs, so that they are used where they lie. Returns how many are left, in
// front and in order.
PM_COLD size_t send_home(ClassId id, void** objects, size_t n, unsigned node) {
  void* remote[kMaxBatch];
  size_t far = 0;
  size_t near = 0;
  for (size_t i = 0; i < n; ++i) {
    void* const p = objects[i];
    if (is_remote(p, node)) {
      remote[far++] = p;
    } else {
      objects[near++] = p;
    }
  }
  if (far == 0) return near;
  count(&Events::remote_frees, far);
  give_to_slabs(id, remote, far);
  return near;
}

void put_away(ClassId id, void** objects, size_t n) {
  const size_t batch = size_class(id).batch;
  unsigned node = 0;
  size_t worth_keeping = batch;
  if (PM_UNLIKELY(node_count() > 1)) {
    node = this_node();
    n = send_home(id, objects, n, node);
    worth_keeping = divide_up(batch, 2);
  }
  if (n == 0 || (n >= worth_keeping && n <= batch && depot_put(node, id, objects, n))) return;
  give_to_slabs(id, objects, n);
}

// Up to `wanted` objects from the depot or the slabs; the depot may give up to kMaxBatch whatever is wanted.
size_t fetch(ClassId id, void** out, size_t wanted) {
  const unsigned node = this_node();
  const size_t from_depot = depot_take(node, id, out);
  if (from_depot != 0) {
    count(&Events::depot_hits);
    return from_depot;
  }
  const size_t n = slab_allocate(id, out, wanted);
  if (n == 0) return 0;
  count(&Events::slab_refills);
  if (PM_UNLIKELY(node_count() > 1) && is_remote(out[0], node)) count(&Events::remote_refills);
  return n;
}

enum class End : uint8_t { empty = 1, full = 2 };

// Room beyond two batches pays only where a magazine runs empty and full by turns: a CPU that only frees flushes as
// often with a larger one, and one that only allocates refills as often. So each turn earns a magazine two doublings.
template <typename Access>
void grow_if_it_pays(uint32_t cpu, ClassId id, End end) {
  MagazineTally& tally = Access::block(cpu).tallies[id];
  const auto now = static_cast<uint8_t>(end);
  const uint8_t last = tally.last_end.load(std::memory_order_relaxed);
  if (last != now) {
    tally.last_end.store(now, std::memory_order_relaxed);
    tally.credit.store(last == 0 ? 0 : 2, std::memory_order_relaxed);
  }
  if (tally.capacity.load(std::memory_order_relaxed) >= 2 * size_class(id).batch) {
    const uint8_t credit = tally.credit.load(std::memory_order_relaxed);
    if (credit == 0) return;
    tally.credit.store(static_cast<uint8_t>(credit - 1), std::memory_order_relaxed);
  }
  grow_magazine<Access>(cpu, id);
}

// What the hot pop refuses: the topmost object, if it lies two below once more. One of the two is handed out, the other
// rejected. nullptr if it is not so.
template <typename Access>
void* take_twin(uint32_t cpu, ClassId id) {
  CpuBlock& block = Access::block(cpu);
  const uint64_t top = block.words[id].load(std::memory_order_relaxed) & kTopMask;
  if (top == kTopMask || top < block.tallies[id].begin + 3U) return nullptr;
  std::atomic<void*>* const slot = slots_of(block) + top;
  if (PM_LIKELY(slot->load(std::memory_order_relaxed) != (slot - 2)->load(std::memory_order_relaxed))) return nullptr;
  // That was a hint; these are ours.
  void* objects[3];
  uint32_t n = Access::pop_batch(cpu, id, objects, 3);
  block.tallies[id].flushed.fetch_add(n, std::memory_order_relaxed);
  void* twin = nullptr;
  if (n == 3 && objects[0] == objects[2]) {
    twin = objects[0];
    keep_rejected(twin);
    objects[0] = objects[1];
    n = 1;
  }
  put_away(id, objects, n);
  return twin;
}

template <typename Access>
void* refill(ClassId id) {
  const uint32_t cpu = Access::cpu();
  if (PM_UNLIKELY(is_marked(Access::block(cpu)))) arm_marked(Access::block(cpu));
  MagazineTally& tally = Access::block(cpu).tallies[id];
  tally.misses.fetch_add(1, std::memory_order_relaxed);
  if (uses_mm_cid) {  // the hot path did not look here
    void* object;
    if (Access::pop_batch(cpu, id, &object, 1) == 1) {
      tally.flushed.fetch_add(1, std::memory_order_relaxed);
      return object;
    }
  }
  if (void* const twin = take_twin<Access>(cpu, id); PM_UNLIKELY(twin != nullptr)) return twin;
  grow_if_it_pays<Access>(cpu, id, End::empty);
  // A young magazine asks for as much as it holds: a program that wants few objects of a class gets few.
  const uint32_t batch = size_class(id).batch;
  const uint32_t capacity = tally.capacity.load(std::memory_order_relaxed);
  const uint32_t wanted = capacity < batch ? capacity : batch;
  void* objects[kMaxBatch];
  const size_t n = fetch(id, objects, wanted == 0 ? 1 : wanted);
  if (n == 0) {
    tally.misses.fetch_sub(1, std::memory_order_relaxed);  // nothing was handed out
    return nullptr;
  }
  count(&Events::refills);
  const auto rest = static_cast<uint32_t>(n - 1);
  const uint32_t kept = Access::push_batch(cpu, id, objects, rest);
  tally.refilled.fetch_add(kept, std::memory_order_relaxed);
  put_away(id, objects + kept, rest - kept);
  return objects[rest];
}

template <typename Access>
void overflow(ClassId id, void* p) {
  const uint32_t cpu = Access::cpu();
  if (PM_UNLIKELY(is_marked(Access::block(cpu)))) arm_marked(Access::block(cpu));
  MagazineTally& tally = Access::block(cpu).tallies[id];
  tally.overflows.fetch_add(1, std::memory_order_relaxed);
  // A suspect that was none, or a call by concurrency id: there may well be room.
  uint32_t pushed = Access::push_batch(cpu, id, &p, 1);
  if (pushed == 0) {
    grow_if_it_pays<Access>(cpu, id, End::full);
    pushed = Access::push_batch(cpu, id, &p, 1);
  }
  if (pushed == 0) {
    void* objects[kMaxBatch];
    const uint32_t batch = size_class(id).batch;
    const uint32_t half = (tally.capacity + 1U) / 2;
    const uint32_t n = Access::pop_batch(cpu, id, objects, batch < half ? batch : half);
    tally.flushed.fetch_add(n, std::memory_order_relaxed);
    if (n != 0) count(&Events::flushes);
    put_away(id, objects, n);
    pushed = Access::push_batch(cpu, id, &p, 1);
  }
  if (pushed == 0) {
    count(&Events::direct);
    put_away(id, &p, 1);
    return;
  }
  tally.refilled.fetch_add(1, std::memory_order_relaxed);
}

#if PM_HAS_RSEQ
// Whether this thread reaches its CPU's block; registers the thread if that is ours to do.
bool reaches_rseq() {
  if (os::rseq_cpu() < magazine_cpus) return true;
  return magazine_cpus != 0 && os::register_this_thread() && os::rseq_cpu() < magazine_cpus;
}
#endif

CpuBlock& this_block() {
#if PM_HAS_RSEQ
  const uint32_t cpu = os::rseq_cpu();
  if (cpu < magazine_cpus) return RseqAccess::block(cpu);
#endif
  return LockedAccess::block(LockedAccess::cpu());
}

char* reserve_blocks(uint32_t blocks, size_t& bytes) {
  bytes = size_t{blocks} << kBlockShift;
  void* const base = os::memory().reserve(0, bytes);
  if (base == nullptr || !os::memory().commit(address_of(base), bytes)) return nullptr;
  return static_cast<char*>(base);
}

CpuBlock& block_at(uint32_t index) {
#if PM_HAS_RSEQ
  if (index < magazine_cpus) return RseqAccess::block(index);
#endif
  return LockedAccess::block(index - magazine_cpus);
}

template <typename Use>
void each_block(Use use) {
#if PM_HAS_RSEQ
  for (uint32_t cpu = 0; cpu < magazine_cpus; ++cpu) use(RseqAccess::block(cpu));
#endif
  for (uint32_t cpu = 0; cpu < locked_block_count; ++cpu) use(LockedAccess::block(cpu));
}

}  // namespace

bool magazine_init(const MagazineOptions& options) {
  magazine_budget_bytes.store(options.magazine_bytes, std::memory_order_relaxed);
  magazine_checks = options.checked;
  if (!depot_init(options.depot_bytes)) return false;
  const uint32_t cpus = os::possible_cpus();
  // Blocks of the locked mode exist in every process: a thread without rseq may turn up at any time. Untouched, they
  // are address space only.
  locked_block_count = cpus < kLockedBlocks ? cpus : kLockedBlocks;
  locked_blocks = reserve_blocks(locked_block_count, locked_bytes);
  constexpr uint32_t kEmpty = 2;  // for CPU -1 and -2
  const os::RseqSource source = os::start_rseq(options.allow_rseq, options.use_mm_cid, &uses_mm_cid);
  const bool rseq = source != os::RseqSource::none;
  char* const hot = reserve_blocks((rseq ? cpus : 0) + kEmpty, rseq_bytes);
  if (locked_blocks == nullptr || hot == nullptr) return false;
  hot_blocks = hot + kEmpty * kBlockStride;
  magazine_blocks = hot_blocks;
  if (!rseq) return true;
  if (uses_mm_cid) {
    magazine_blocks = reserve_blocks(cpus, rseq_bytes);
    if (magazine_blocks == nullptr) return false;
  }
  os::prepare_fence();
  magazine_cpus = cpus;
  mode = MagazineMode::rseq;
  return true;
}

void magazine_resize(uint64_t magazine_bytes, uint64_t depot_bytes) {
  magazine_budget_bytes.store(magazine_bytes, std::memory_order_relaxed);
  depot_resize(depot_bytes);
}

MagazineMode magazine_mode() { return mode; }
bool magazine_uses_mm_cid() { return uses_mm_cid; }

void* magazine_refill(ClassId id) {
#if PM_HAS_RSEQ
  if (reaches_rseq()) return refill<RseqAccess>(id);
#endif
  void* const object = LockedAccess::pop(LockedAccess::cpu(), id);
  return object != nullptr ? object : refill<LockedAccess>(id);
}

Overflow magazine_overflow(ClassId id, void* p) {
#if PM_HAS_RSEQ
  if (reaches_rseq()) {
    if (magazine_holds_on_top(id, p)) return Overflow::double_free;
    overflow<RseqAccess>(id, p);
    return Overflow::done;
  }
#endif
  if (magazine_holds_on_top(id, p)) return Overflow::double_free;
  const Push push = LockedAccess::push(LockedAccess::cpu(), id, p);
  if (push == Push::done) return Overflow::done;
  if (push == Push::suspect) return Overflow::double_free;
  overflow<LockedAccess>(id, p);
  return Overflow::done;
}

bool magazine_holds_on_top(ClassId id, const void* p) {
  CpuBlock& block = this_block();
  const uint64_t top = block.words[id].load(std::memory_order_relaxed) & kTopMask;
  if (top == kTopMask) return false;  // a drain has it
  for (uint64_t i = 0; i < kLookBack && top > block.tallies[id].begin + i; ++i) {
    if (slots_of(block)[top - i].load(std::memory_order_relaxed) == p) return true;
  }
  return false;
}

void magazine_sample(uint64_t period, uint32_t generation) {
  {
    const LockGuard guard(layout_lock);
    switch_sampling(period, generation);
    sampled_ever = true;
  }
#if PM_HAS_RSEQ
  // By concurrency id the hot path pops nothing: every allocation draws for itself, as in the locked mode.
  if (hot_blocks != magazine_blocks) return;
  for (uint32_t cpu = 0; cpu < magazine_cpus; ++cpu) {
    if (!drain_cpu<RseqAccess>(cpu, true)) RseqAccess::block(cpu).marked.store(1, std::memory_order_relaxed);
  }
#endif
}

void magazine_was_sampled(ClassId id, Popped out) { arm_again(*out.block, id); }

void magazine_put_back(ClassId id, void* p) {
#if PM_HAS_RSEQ
  const uint32_t cpu = RseqAccess::cpu();
  if (cpu < magazine_cpus && RseqAccess::push_batch(cpu, id, &p, 1) == 1) {
    RseqAccess::block(cpu).tallies[id].refilled.fetch_add(1, std::memory_order_relaxed);
    return;
  }
#endif
  put_away(id, &p, 1);
}

bool magazine_drain_all() {
  if (inside_lock()) return false;
  bool all = true;
#if PM_HAS_RSEQ
  for (uint32_t cpu = 0; cpu < magazine_cpus; ++cpu) all = drain_cpu<RseqAccess>(cpu) && all;
#endif
  if (locked_blocks_used.load(std::memory_order_relaxed)) {
    for (uint32_t cpu = 0; cpu < locked_block_count; ++cpu) all = drain_cpu<LockedAccess>(cpu) && all;
  }
  depot_drain(SIZE_MAX);
  return all;
}

uint32_t magazine_block_count() { return magazine_cpus + locked_block_count; }

bool magazine_use(uint32_t index, MagazineUse& out) {
  CpuBlock& block = block_at(index);
  if (block.next_slot.load(std::memory_order_relaxed) == 0) return false;
  out = {0, 0};
  for (unsigned id = 1; id < class_table->count; ++id) {
    const MagazineTally& tally = block.tallies[id];
    const uint64_t begin = tally.begin.load(std::memory_order_relaxed);
    if (begin == 0) continue;
    const uint64_t top = block.words[id].load(std::memory_order_relaxed) & kTopMask;
    out.activity += use_of(block, static_cast<ClassId>(id));
    if (top > begin && top != kTopMask) out.bytes += (top - begin) * size_class(static_cast<ClassId>(id)).size;
  }
  return true;
}

size_t magazine_drain_block(uint32_t index) {
  MagazineUse before;
  if (inside_lock() || !magazine_use(index, before) || before.bytes == 0) return 0;
#if PM_HAS_RSEQ
  if (index < magazine_cpus) return drain_cpu<RseqAccess>(index) ? before.bytes : 0;
#endif
  return drain_cpu<LockedAccess>(index - magazine_cpus) ? before.bytes : 0;
}

size_t depot_drain(size_t goal) {
  if (inside_lock()) return 0;
  size_t bytes = 0;
  void* objects[kMaxBatch];
  for (unsigned c = 1; c < class_table->count && bytes < goal; ++c) {
    const auto id = static_cast<ClassId>(c);
    for (unsigned node = 0; node < node_count() && bytes < goal;) {
      const size_t n = depot_take(node, id, objects);
      if (n == 0) {
        ++node;
        continue;
      }
      give_to_slabs(id, objects, n);
      bytes += n * size_class(id).size;
    }
  }
  return bytes;
}

namespace {

// Adds what the class's magazine of this block holds and has done.
void add_magazine(const CpuBlock& block, unsigned id, MagazineClassStatistics& row) {
  const MagazineTally& tally = block.tallies[id];
  const uint64_t begin = tally.begin.load(std::memory_order_relaxed);
  if (begin == 0) return;
  const uint64_t word = block.words[id].load(std::memory_order_relaxed);
  const uint64_t top = word & kTopMask;
  const uint64_t held = top > begin && top != kTopMask ? top - begin : 0;
  const uint64_t pops = pops_of(block, static_cast<ClassId>(id));
  const uint64_t refilled = tally.refilled.load(std::memory_order_relaxed);
  const uint64_t flushed = tally.flushed.load(std::memory_order_relaxed);
  row.magazine_objects += held;
  row.capacity += tally.capacity.load(std::memory_order_relaxed);
  row.pops += pops;
  // What is in came by refills and pushes, what went by pops and flushes.
  const uint64_t out = held + pops + flushed;
  row.pushes += out > refilled ? out - refilled : 0;
  row.misses += tally.misses.load(std::memory_order_relaxed);
  row.overflows += tally.overflows.load(std::memory_order_relaxed);
  row.refilled += refilled;
  row.flushed += flushed;
}

// A block that was never used is not looked into, lest its pages become resident.
bool is_used(const CpuBlock& block) { return block.next_slot.load(std::memory_order_relaxed) != 0; }

}  // namespace

PM_RARE void magazine_collect(MagazineClassStatistics (&rows)[kMaxClasses]) {
  for (MagazineClassStatistics& row : rows) row = {};
  each_block([&](const CpuBlock& block) {
    if (!is_used(block)) return;
    for (unsigned id = 1; id < class_table->count; ++id) add_magazine(block, id, rows[id]);
  });
  for (unsigned id = 1; id < class_table->count; ++id) rows[id].depot_objects = depot_objects(static_cast<ClassId>(id));
}

bool magazine_collect_block(uint32_t index, MagazineBlockStatistics& out) {
  const CpuBlock& block = block_at(index);
  if (!is_used(block)) return false;
  const bool locked = index >= magazine_cpus;
  out = {locked ? index - magazine_cpus : index, locked, 0, 0, 0, 0, 0};
  for (unsigned id = 1; id < class_table->count; ++id) {
    MagazineClassStatistics row = {};
    add_magazine(block, id, row);
    const uint64_t size = size_class(static_cast<ClassId>(id)).size;
    out.objects += row.magazine_objects;
    out.bytes += row.magazine_objects * size;
    out.capacity_bytes += row.capacity * size;
    out.hits += row.pops + row.pushes;
    out.misses += row.misses + row.overflows;
  }
  return true;
}

MagazineCounters magazine_counters() {
  MagazineCounters out = {};
  out.grows = layout_counters.grows.load(std::memory_order_relaxed);
  out.shrinks = layout_counters.shrinks.load(std::memory_order_relaxed);
  out.drains = layout_counters.drains.load(std::memory_order_relaxed);
  for (const Events& cell : events) {
    out.refills += cell.refills.load(std::memory_order_relaxed);
    out.flushes += cell.flushes.load(std::memory_order_relaxed);
    out.depot_hits += cell.depot_hits.load(std::memory_order_relaxed);
    out.slab_refills += cell.slab_refills.load(std::memory_order_relaxed);
    out.direct += cell.direct.load(std::memory_order_relaxed);
    out.remote_refills += cell.remote_refills.load(std::memory_order_relaxed);
    out.remote_frees += cell.remote_frees.load(std::memory_order_relaxed);
  }
  return out;
}

size_t magazine_table_bytes() {
  return os::resident_bytes(address_of(magazine_blocks), rseq_bytes) +
         os::resident_bytes(address_of(locked_blocks), locked_bytes) + depot_table_bytes();
}

void magazine_before_fork() {
  layout_lock.lock();
  for (uint32_t i = 0; i < locked_block_count; ++i) block_locks[i].lock.lock_for_fork();
}

void magazine_after_fork_parent() {
  for (uint32_t i = 0; i < locked_block_count; ++i) block_locks[i].lock.unlock();
  layout_lock.unlock();
}

void magazine_after_fork_child(bool interrupted) {
  for (uint32_t i = 0; i < locked_block_count; ++i) block_locks[i].lock.reset_in_child(interrupted);
  layout_lock.reset_in_child(interrupted);
  if (!sampled_ever) return;
  each_block([](CpuBlock& block) {
    if (block.next_slot.load(std::memory_order_relaxed) != 0) finish_arming_in_child(block);
  });
}

}  // namespace pm
