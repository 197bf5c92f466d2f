// 64 threads allocate, resize and free large objects and runs for slabs, over system calls that check that their caller
// holds no lock, and the first decommit of which does not return until the threads are through: nobody waits for it.
#include "os/memory.h"
#include "stress.h"

namespace {

using namespace pm;
using namespace pm::stress;

constexpr unsigned kThreads = 64;
constexpr unsigned kObjects = 4;

const os::MemoryFunctions* kernel = nullptr;
std::atomic<uint64_t> calls{0};
std::atomic<bool> stalled{false};
std::atomic<bool> let_go{false};

void note_call() {
  EXPECT(!inside_lock());
  calls.fetch_add(1, std::memory_order_relaxed);
}

void* reserve(uintptr_t hint, size_t bytes) {
  note_call();
  return kernel->reserve(hint, bytes);
}
void release(uintptr_t start, size_t bytes) {
  note_call();
  kernel->release(start, bytes);
}
bool commit(uintptr_t start, size_t bytes) {
  note_call();
  return kernel->commit(start, bytes);
}
size_t decommit(const os::PageRange* ranges, size_t count) {
  note_call();
  if (!stalled.exchange(true)) {
    while (!let_go.load()) usleep(1000);
  }
  return kernel->decommit(ranges, count);
}
bool advise_huge(uintptr_t start, size_t bytes) {
  note_call();
  return kernel->advise_huge(start, bytes);
}
bool populate(uintptr_t start, size_t bytes) {
  note_call();
  return kernel->populate(start, bytes);
}
bool move_pages(uintptr_t from, uintptr_t to, size_t bytes) {
  note_call();
  return kernel->move_pages(from, to, bytes);
}

void* take(Random& random) {
  // Log-uniform, 128 KiB to 16 MiB; little of it is touched.
  const size_t bytes = (size_t{128} << random.below(7)) * (1024 + random.below(1024));
  void* const p = allocate_large(bytes, random.one_in(8) ? kBlockBytes : kSizeStep, random.one_in(4));
  EXPECT(p != nullptr);
  *static_cast<uint64_t*>(p) = address_of(p);
  return p;
}

void give(void* p) {
  EXPECT(*static_cast<uint64_t*>(p) == address_of(p));
  void* start = nullptr;
  EXPECT(free_large(p, &start) == FreeLarge::done);
}

void work(unsigned seed, unsigned rounds) {
  Random random(seed);
  void* objects[kObjects];
  for (void*& p : objects) p = take(random);
  for (unsigned i = 0; i < rounds; ++i) {
    void*& p = objects[random.below(kObjects)];
    if (random.one_in(4)) {
      resize_large(p, large_size(p) / 2 + random.below(1 << 20));
    } else {
      give(p);
      p = take(random);
    }
    bool clean = false;
    const uint32_t granules = 1U << random.below(6);
    const GranuleIndex run = allocate_slab_run(granules, &clean);
    EXPECT(run != kNoGranule);
    release_slab_run(run, granules);
  }
  for (void* p : objects) give(p);
}

}  // namespace

int main() {
  // If somebody does wait for the stalled one, this ends it.
  alarm(240);
  static os::MemoryFunctions checked = os::memory();
  static const os::MemoryFunctions real = checked;
  kernel = &real;
  checked.reserve = reserve;
  checked.release = release;
  checked.commit = commit;
  checked.decommit = decommit;
  checked.advise_huge = advise_huge;
  checked.populate = populate;
  checked.move_pages = move_pages;
  os::set_memory_functions(&checked);
  start_pages(64 * kGiB, 0);

  Random random(1);
  void* const dirty = take(random);
  take(random);
  give(dirty);
  std::thread trimmer([] { page_trim(SIZE_MAX); });
  while (!stalled.load()) usleep(100);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(work, i, PM_SANITIZED ? 60 : 300);
  for (std::thread& thread : threads) thread.join();
  EXPECT(!let_go.load());
  page_audit();
  let_go.store(true);
  trimmer.join();
  page_audit();
  page_trim(SIZE_MAX);
  PageStatistics pages;
  page_collect(pages);
  EXPECT(pages.dirty_bytes == 0 && pages.large_objects == 1);
  printf("%llu large objects, %llu system calls\n", static_cast<unsigned long long>(pages.large_allocations),
         static_cast<unsigned long long>(calls.load()));
  return 0;
}
