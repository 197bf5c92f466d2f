// Memory refused at every single call: the same list of operations runs once for each call that the layers make to the
// system, in a process of its own, and that call is refused, or it and all after it. Every operation then works or
// returns nullptr, nothing crashes, audits hold, and with memory back everything works again.
#include <sys/wait.h>

#include "os/memory.h"
#include "tests/model/heap_oracle.h"

namespace {

using model::HeapOracle;
using pm::os::MemoryFunctions;
using pm::os::PageRange;

enum class Call { reserve, commit, decommit, advise_huge, advise_small, move_pages, any };
constexpr Call kCalls[] = {Call::reserve,      Call::commit,     Call::decommit, Call::advise_huge,
                           Call::advise_small, Call::move_pages, Call::any};
constexpr const char* kNames[] = {"reserve", "commit", "decommit", "advise_huge", "advise_small", "move_pages", "any"};

struct Faults {
  Call call;
  bool for_good;   // all later calls too
  uint64_t first;  // the call that is refused, from 1
  uint64_t seen;
  uint64_t refused;
};
Faults faults = {};
bool memory_is_back = false;
const MemoryFunctions* kernel = nullptr;

bool refuses(Call call) {
  if (memory_is_back || (faults.call != call && faults.call != Call::any)) return false;
  ++faults.seen;
  const bool now = faults.for_good ? faults.seen >= faults.first : faults.seen == faults.first;
  faults.refused += now;
  return now;
}

void* reserve(uintptr_t hint, size_t bytes) { return refuses(Call::reserve) ? nullptr : kernel->reserve(hint, bytes); }
void release(uintptr_t start, size_t bytes) { kernel->release(start, bytes); }
bool commit(uintptr_t start, size_t bytes) { return !refuses(Call::commit) && kernel->commit(start, bytes); }
// A refusal stops half way, as the system may.
size_t decommit(const PageRange* ranges, size_t count) {
  return kernel->decommit(ranges, refuses(Call::decommit) ? count / 2 : count);
}
bool advise_huge(uintptr_t start, size_t bytes) {
  return !refuses(Call::advise_huge) && kernel->advise_huge(start, bytes);
}
bool advise_small(uintptr_t start, size_t bytes) {
  return !refuses(Call::advise_small) && kernel->advise_small(start, bytes);
}
bool move_pages(uintptr_t from, uintptr_t to, size_t bytes) {
  return !refuses(Call::move_pages) && kernel->move_pages(from, to, bytes);
}
MemoryFunctions refusing;

bool may_fail() { return faults.refused != 0 && !memory_is_back; }

// A large object that remembers what was written to both its ends.
struct Large {
  uint64_t* start = nullptr;
  size_t bytes = 0;

  uint64_t& last() const { return start[bytes / 8 - 1]; }
  void mark() const {
    start[0] = bytes;
    last() = ~bytes;
  }
};

class Pages {
 public:
  void allocate(size_t bytes, size_t alignment, bool zero) {
    void* const p = pm::allocate_large(bytes, alignment, zero);
    HOLDS(p != nullptr || may_fail());
    if (p != nullptr) {
      HOLDS(pm::is_aligned(pm::address_of(p), alignment));
      const Large object = {static_cast<uint64_t*>(p), pm::large_size(p)};
      HOLDS(object.bytes >= bytes);
      for (size_t i = 0; zero && i < object.bytes / 8; i += 64) HOLDS(object.start[i] == 0);
      object.mark();
      large_[large_count_++] = object;
    }
    pm::page_audit();
  }

  void deallocate(size_t which) {
    if (which >= large_count_) return;
    check(large_[which]);
    void* start = nullptr;
    HOLDS(pm::free_large(large_[which].start, &start) == pm::FreeLarge::done);
    large_[which] = large_[--large_count_];
    pm::page_audit();
  }

  // In place, or by moving, or not at all: as realloc goes about it.
  void resize(size_t which, size_t bytes) {
    if (which >= large_count_) return;
    Large& object = large_[which];
    check(object);
    const uint64_t mark = object.start[0];
    if (pm::resize_large(object.start, bytes)) {
      HOLDS(object.start[0] == mark);
    } else {
      HOLDS(bytes > object.bytes);
      void* const moved = pm::move_large(object.start, bytes);
      if (moved == nullptr) return check(object);
      object.start = static_cast<uint64_t*>(moved);
      HOLDS(object.start[0] == mark && object.last() == ~mark);
    }
    object.bytes = pm::large_size(object.start);
    HOLDS(object.bytes >= bytes);
    object.mark();
    pm::page_audit();
  }

  void allocate_run(uint32_t granules) {
    bool clean = false;
    const pm::GranuleIndex first = pm::allocate_slab_run(granules, &clean);
    HOLDS(first != pm::kNoGranule || may_fail());
    if (first != pm::kNoGranule) {
      HOLDS(first % granules == 0);
      auto* const memory = static_cast<uint64_t*>(pm::region.address(first));
      HOLDS(!clean || memory[0] == 0);
      memory[0] = first;
      runs_[run_count_++] = {first, granules};
    }
    pm::page_audit();
  }

  void deallocate_run(size_t which) {
    if (which >= run_count_) return;
    HOLDS(*static_cast<uint64_t*>(pm::region.address(runs_[which].first)) == runs_[which].first);
    pm::release_slab_run(runs_[which].first, runs_[which].granules);
    runs_[which] = runs_[--run_count_];
    pm::page_audit();
  }

  void everything_twice() {
    for (int round = 0; round < 2; ++round) {
      for (const size_t bytes : {size_t{1}, pm::kGranuleBytes + 1, pm::kMiB, 3 * pm::kMiB}) {
        allocate(bytes, pm::kGranuleBytes, false);
        allocate(bytes, pm::kGranuleBytes, true);
        allocate(bytes, 4 * pm::kMiB, true);
      }
      for (uint32_t granules = 1; granules <= pm::kBlockGranules; granules *= 2) {
        allocate_run(granules);
        allocate_run(granules);
      }
      resize(4, 100);
      resize(6, 5 * pm::kMiB);
      resize(9, 9 * pm::kMiB);
      resize(9, 2 * pm::kMiB);
      for (size_t i = 0; i < 3; ++i) {
        deallocate(2 * i);
        deallocate_run(3 * i);
      }
      pm::page_trim(round == 0 ? pm::kMiB : SIZE_MAX);
      pm::page_audit();
      allocate(7 * pm::kMiB, pm::kGranuleBytes, true);
    }
  }

  void deallocate_all() {
    while (large_count_ != 0) deallocate(0);
    while (run_count_ != 0) deallocate_run(0);
  }

  size_t objects() const { return large_count_ + run_count_; }

 private:
  static void check(const Large& object) { HOLDS(object.start[0] == object.bytes && object.last() == ~object.bytes); }

  struct Run {
    pm::GranuleIndex first;
    uint32_t granules;
  };
  Large large_[128];
  size_t large_count_ = 0;
  Run runs_[128];
  size_t run_count_ = 0;
};

void expect_all_given_back() {
  pm::page_trim(SIZE_MAX);
  pm::page_audit();
  pm::PageStatistics now;
  pm::page_collect(now);
  HOLDS(now.dirty_bytes == 0);
  HOLDS(now.large_objects == 0 && now.large_bytes == 0 && now.slab_run_bytes == 0);
  HOLDS(now.clean_bytes == now.committed_bytes);
}

void try_pages() {
  constexpr pm::PageOptions kOptions = {.reserve_bytes = pm::kGiB, .dirty_bytes = 0, .huge = pm::HugeMode::always};
  if (!pm::page_init(kOptions)) {
    // A single refusal only makes it ask for less.
    HOLDS(faults.refused > 1);
    return;
  }
  pm::test::place_window();
  Pages pages;
  pages.everything_twice();
  memory_is_back = true;
  const size_t before = pages.objects();
  pages.everything_twice();
  HOLDS(pages.objects() > before);
  pages.deallocate_all();
  expect_all_given_back();
}

void random_operations(HeapOracle& heap, uint64_t seed) {
  model::Random random(seed);
  for (unsigned i = 0; i < 500; ++i) {
    const uint64_t action = random.below(100);
    if (action < 45 || heap.objects() == 0) {
      heap.allocate(random.of_bits(14));
    } else if (action < 50) {
      heap.allocate_zeroed(random.of_bits(19));
    } else if (action < 53) {
      heap.allocate_aligned(size_t{1} << random.below(22), random.of_bits(16));
    } else if (action < 60) {
      heap.reallocate(random.below(heap.objects()), random.of_bits(18));
    } else if (action < 61) {
      // Large enough for pages to be moved.
      heap.allocate(2 * pm::kMiB + random.of_bits(20));
      heap.allocate(pm::kMiB + random.of_bits(20));
      if (heap.objects() > 1) heap.reallocate(heap.objects() - 2, 9 * pm::kMiB);
    } else if (action < 99) {
      heap.deallocate(random.below(heap.objects()));
    } else {
      pm::trim_heap(random.one_in(2) ? SIZE_MAX : pm::kMiB);
      HeapOracle::audit();
    }
  }
  heap.verify_all();
  HeapOracle::audit();
}

void try_heap() {
  if (!model::start_heap()) {
    // Then the C library serves.
    HOLDS(faults.refused != 0);
    if (PM_SANITIZED) return;
    void* const p = pm::allocate(100);
    HOLDS(p != nullptr);
    pm::deallocate(p, nullptr);
    return;
  }
  HeapOracle heap(HeapOracle::Memory::scarce);
  random_operations(heap, 1);
  HOLDS(heap.refused() == 0 || faults.refused != 0);
  memory_is_back = true;
  heap.set_memory(HeapOracle::Memory::plenty);
  random_operations(heap, 2);
  heap.reconcile();
  heap.clear();
  pm::trim_heap(SIZE_MAX);
  HeapOracle::audit();
  expect_all_given_back();
}

constexpr int kRefused = 10;
constexpr int kNothingRefused = 11;

// Runs `attempt` in a child. False once nothing was refused: it makes fewer calls.
bool survives(void (*attempt)(), const Faults& fault) {
  const pid_t child = fork();
  HOLDS(child >= 0);
  if (child == 0) {
    faults = fault;
    kernel = &pm::os::memory();
    refusing = *kernel;
    refusing.reserve = reserve;
    refusing.release = release;
    refusing.commit = commit;
    refusing.decommit = decommit;
    refusing.advise_huge = advise_huge;
    refusing.advise_small = advise_small;
    refusing.move_pages = move_pages;
    pm::os::set_memory_functions(&refusing);
    attempt();
    _exit(faults.refused != 0 ? kRefused : kNothingRefused);
  }
  int status = 0;
  HOLDS(waitpid(child, &status, 0) == child);
  const bool survived =
      WIFEXITED(status) && (WEXITSTATUS(status) == kRefused || WEXITSTATUS(status) == kNothingRefused);
  if (!survived) {
    dprintf(STDERR_FILENO, "with %s refused at call %llu%s: wait status 0x%x\n", kNames[static_cast<int>(fault.call)],
            static_cast<unsigned long long>(fault.first), fault.for_good ? " and after" : "",
            static_cast<unsigned>(status));
    HOLDS(survived);
  }
  return WEXITSTATUS(status) == kRefused;
}

}  // namespace

int main(int count, char** words) {
  HOLDS(count == 2);
  const bool heap = strcmp(words[1], "heap") == 0;
  HOLDS(heap || strcmp(words[1], "page") == 0);
  for (const Call call : kCalls) {
    for (const bool for_good : {false, true}) {
      // Each single call has been refused by then.
      if (call == Call::any && !for_good) continue;
      uint64_t n = 1;
      while (survives(heap ? try_heap : try_pages, {call, for_good, n, 0, 0})) ++n;
      dprintf(STDOUT_FILENO, "%-11s %s: %llu places\n", kNames[static_cast<int>(call)],
              for_good ? "and after" : "once     ", static_cast<unsigned long long>(n - 1));
      HOLDS(n > 1);
    }
  }
}
