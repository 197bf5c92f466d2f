// Threads pop, push, refill and overflow the magazines of a few classes while they are interrupted and moved, and while
// another thread drains every CPU. Each object has one owner at a time, no free is taken for a double free, and in the
// end none is lost.
//
// Usage: magazine_stress rseq|locked
#include "magazine/magazine.h"
#include "magazine/rejected.h"
#include "stress.h"

#if defined(POOLMALLOC_INJECT)
static void set_delay(uint64_t turns) { __atomic_store_n(&pm::pm_inject_delay, turns, __ATOMIC_RELAXED); }
#else
static void set_delay(uint64_t) {}
#endif

namespace {

using namespace pm;
using namespace pm::stress;

constexpr size_t kWindow = kGiB;
// Batches of many and of one, one-granule slabs and longer ones, and enough bytes that the small budget below runs out.
constexpr size_t kSizes[] = {16, 64, 112, 320, 1024, 4096, 20480};

void* allocate_object(ClassId id) {
  Popped popped;
  void* const p = magazine_pop(id, popped) == Pop::done ? popped.object : magazine_refill(id);
  EXPECT(p != nullptr && class_at(p) == id);
  return p;
}

void free_object(void* p) {
  const ClassId id = class_at(p);
  EXPECT(!magazine_holds_on_top(id, p));
  if (magazine_push(id, p) != Push::done) EXPECT(magazine_overflow(id, p) == Overflow::done);
}

class Stress {
 public:
  void work(unsigned seed, double length) {
    Random random(seed + 1);
    const Deadline deadline(length);
    void* held[128] = {};
    while (!deadline.passed()) {
      // Bursts of one class empty and fill its magazine; single turns mix the classes.
      const uint32_t burst = random.one_in(8) ? 64 : 1;
      const ClassId id = class_of(kSizes[random.below(std::size(kSizes))]);
      for (uint32_t i = 0; i < burst; ++i) {
        void*& place = held[random.below(std::size(held))];
        if (place == nullptr) {
          place = take(id);
        } else if (random.one_in(4)) {
          place = exchange_.swap(random.below(UINT32_MAX), place);
        } else {
          give(place);
          // Often the same object at once again, as programs do.
          place = random.one_in(2) ? take(id) : nullptr;
        }
      }
    }
    for (void* p : held) {
      if (p != nullptr) give(p);
    }
  }

  void finish() {
    exchange_.empty([this](void* p) { give(p); });
    set_delay(0);
    EXPECT(magazine_drain_all());
    static MagazineClassStatistics rows[kMaxClasses];
    magazine_collect(rows);
    for (const MagazineClassStatistics& row : rows) EXPECT(row.magazine_objects == 0 && row.depot_objects == 0);
    void* rejected = nullptr;
    EXPECT(take_rejected(&rejected, 1) == 0);
    expect_no_object_outside();
  }

 private:
  void* take(ClassId id) {
    void* const p = allocate_object(id);
    owners_.take(p);
    stamp(p, size_class(id).size);
    return p;
  }

  void give(void* p) {
    EXPECT(has_stamp(p, size_class(class_at(p)).size));
    owners_.give(p);
    free_object(p);
  }

  Owners owners_{kWindow};
  Exchange exchange_;
};

}  // namespace

int main(int count, char** arguments) {
  const bool rseq = count < 2 || strcmp(arguments[1], "rseq") == 0;
  start_pages(kWindow, kMiB);
  EXPECT(slab_init());
  EXPECT(magazine_init(
      {.magazine_bytes = 256 * kKiB, .depot_bytes = kMiB, .allow_rseq = rseq, .use_mm_cid = false, .checked = true}));
  if (rseq && magazine_mode() != MagazineMode::rseq) return kSkipped;

  static Stress stress;
  const double length = seconds(3);
  Random random(7);
  uint64_t drains = 0;
  run_threads(
      many_threads(), true, [&](unsigned i) { stress.work(i, length); },
      [&] {
        constexpr uint64_t kDelays[] = {0, 50, 500, 5000, 50000};
        set_delay(kDelays[random.below(std::size(kDelays))]);
        for (uint32_t i = 0; i < 8; ++i) {
          EXPECT(magazine_drain_all());
          ++drains;
          if (random.one_in(4)) slab_trim();
          usleep(random.below(500));
        }
      });
  stress.finish();
  const MagazineCounters counters = magazine_counters();
  EXPECT(counters.grows > 0 && counters.refills > 0 && counters.flushes > 0 && drains > 0);
#if defined(POOLMALLOC_INJECT)
  // Without aborts in the middle of sequences this run has shown nothing.
  if (rseq) EXPECT(aborts.load() > 0);
#endif
  printf("%llu drains, %llu grows, %llu shrinks, %llu sequences aborted by a signal\n",
         static_cast<unsigned long long>(drains), static_cast<unsigned long long>(counters.grows),
         static_cast<unsigned long long>(counters.shrinks), static_cast<unsigned long long>(aborts.load()));
  return 0;
}
