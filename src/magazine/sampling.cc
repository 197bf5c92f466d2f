#include "magazine/sampling.h"

#include "base/exponential.h"
#include "os/cpu.h"
#include "os/process.h"

namespace pm {

std::atomic<const SamplingTable*> sampling{nullptr};
std::atomic<uint64_t> dropped_samples{0};

namespace {

constexpr uint64_t kFarthest = uint64_t{1} << 46;
constexpr double kTwo64 = 18446744073709551616.0;

// Untouched, hence without pages, in processes that are never profiled.
SamplingTable tables[2];
bool seeded = false;  // layout lock

// Random numbers: a counter for each CPU, mixed (splitmix64; G. Steele, D. Lea, C. Flood, 2014). Relaxed: every
// increment is somebody's alone, which is all that is asked.
struct alignas(kCacheLine) Counter {
  std::atomic<uint64_t> value{0};
};
constexpr uint32_t kCounters = 64;
Counter counters[kCounters];

uint64_t random_number() {
  uint64_t x = counters[os::current_cpu() % kCounters].value.fetch_add(0x9e3779b97f4a7c15U, std::memory_order_relaxed);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

// Of mean 1; at most 36.8.
double random_exponential() {
  return -natural_log((static_cast<double>(random_number() >> 11) + 0.5) * (1.0 / 9007199254740992.0));
}

uint64_t threshold_of(uint64_t period, uint64_t bytes) {
  if (period <= 1) return UINT64_MAX;
  const double chance = one_minus_exp(static_cast<double>(bytes) / static_cast<double>(period));
  const double scaled = chance * kTwo64;
  return scaled >= kTwo64 ? UINT64_MAX : static_cast<uint64_t>(scaled);
}

bool draw(uint64_t threshold) { return threshold == UINT64_MAX || random_number() < threshold; }

}  // namespace

void switch_sampling(uint64_t period, uint32_t generation) {
  if (period == 0) return sampling.store(nullptr, std::memory_order_release);
  if (!seeded) {
    seeded = true;
    // Each CPU's numbers start elsewhere, and elsewhere in each process.
    uint64_t seed = os::random_seed();
    for (Counter& counter : counters) counter.value.store(seed += 0xd1342543de82ef95U, std::memory_order_relaxed);
  }
  SamplingTable& table = tables[generation % 2];
  table.period = period;
  table.generation = generation;
  for (unsigned id = 1; id < class_table->count; ++id) {
    const uint32_t size = size_class(static_cast<ClassId>(id)).size;
    table.objects[id] = static_cast<double>(period) / size;
    table.threshold[id] = threshold_of(period, size);
  }
  sampling.store(&table, std::memory_order_release);
}

uint64_t draw_distance(const SamplingTable& table, ClassId id) {
  if (table.period <= 1) return 1;
  // The whole part of an exponential number is geometric, with the chance exp(-size / period) to go on.
  const double objects = random_exponential() * table.objects[id];
  return objects < static_cast<double>(kFarthest) ? static_cast<uint64_t>(objects) + 1 : kFarthest;
}

bool draw_object(const SamplingTable& table, ClassId id) { return draw(table.threshold[id]); }
bool draw_bytes(const SamplingTable& table, uint64_t bytes) { return draw(threshold_of(table.period, bytes)); }

uint64_t sampled_weight(uint64_t period, uint64_t bytes) {
  if (period <= 1) return bytes;
  const auto size = static_cast<double>(bytes);
  return static_cast<uint64_t>(size / one_minus_exp(size / static_cast<double>(period)));
}

}  // namespace pm
