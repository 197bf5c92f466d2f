// A magazine of the locked mode is opened by one thread, under the layout lock, while another pushes and pops, under
// the block's lock: what is pushed must be there afterwards, in the new array. Each round starts from a fresh magazine.
#include "magazine/layout.h"
#include "magazine/magazine.h"
#include "stress.h"

namespace {

using namespace pm;
using namespace pm::stress;

constexpr uint32_t kCpu = 0;
constexpr ClassId kClass = 1;

void close_magazine() {
  CpuBlock& block = LockedAccess::block(kCpu);
  memset(static_cast<void*>(&block), 0, size_t{kFirstSlot + 64} * sizeof(void*));
}

// What lies in the magazine, by the word and the layout that the opener left.
uint32_t objects_held() {
  const CpuBlock& block = LockedAccess::block(kCpu);
  const auto top = static_cast<uint32_t>(block.words[kClass].load() & kTopMask);
  EXPECT(top >= block.tallies[kClass].begin);
  return top - block.tallies[kClass].begin;
}

}  // namespace

int main() {
  start_pages(kGiB, kMiB);
  EXPECT(slab_init());
  EXPECT(magazine_init(
      {.magazine_bytes = kMiB, .depot_bytes = 0, .allow_rseq = false, .use_mm_cid = false, .checked = true}));
  static char object[64];
  Random random(1);
  const Deadline deadline(seconds(2));
  std::atomic<uint32_t> round{0};
  std::atomic<uint32_t> opened{0};
  std::atomic<bool> over{false};
  std::thread opener([&] {
    for (uint32_t seen = 0;;) {
      while (round.load(std::memory_order_acquire) == seen) {
        if (over.load(std::memory_order_acquire)) return;
        os::yield_thread();
      }
      seen = round.load(std::memory_order_relaxed);
      grow_magazine<LockedAccess>(kCpu, kClass);
      opened.store(seen, std::memory_order_release);
    }
  });
  // On a busy machine the two threads may meet rarely.
  while (!deadline.passed() || round.load(std::memory_order_relaxed) <= 100) {
    close_magazine();
    const uint32_t now = round.load(std::memory_order_relaxed) + 1;
    round.store(now, std::memory_order_release);
    while (LockedAccess::push(kCpu, kClass, object) != Push::done) {
      // Let the opener have the block's lock, for a time that lands the next push anywhere in its work.
      for (uint32_t turns = random.below(64); turns > 0; --turns) os::pause_cpu();
    }
    while (opened.load(std::memory_order_acquire) != now) os::yield_thread();
    EXPECT(objects_held() == 1);
    EXPECT(LockedAccess::pop(kCpu, kClass) == object);
  }
  over.store(true, std::memory_order_release);
  opener.join();
  printf("%u rounds\n", round.load());
  return 0;
}
