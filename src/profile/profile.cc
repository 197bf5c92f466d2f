#include "profile/profile.h"

#include <cerrno>

#include "base/check.h"
#include "magazine/magazine.h"
#include "os/process.h"
#include "page/page.h"
#include "profile/stack.h"
#include "profile/state.h"

namespace pm {

constinit ProfileState profile_state;
std::atomic<bool> profile_exists{false};

namespace {

constexpr uint64_t kTemporaryNs = 10'000'000;
constexpr uint64_t kMostPeriod = uint64_t{1} << 40;

uint64_t table_limit = 64 * kMiB;

// Counted for the statistics; relaxed.
std::atomic<uint64_t> direct_allocations[kMaxClasses];
std::atomic<uint64_t> sampled_frees[kMaxClasses];

// One thread starts or stops at a time; who comes meanwhile yields.
std::atomic<bool> switching{false};
class Switch {
 public:
  Switch() {
    while (switching.exchange(true, std::memory_order_acquire)) os::yield_thread();
  }
  ~Switch() { switching.store(false, std::memory_order_release); }
  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;
};

// Large objects that a signal handler freed inside a lock: their samples go when the lock is next taken. Beyond these,
// a sample stays as if its object lived.
constexpr unsigned kForgotten = 16;
std::atomic<uintptr_t> forgotten[kForgotten];
std::atomic<bool> has_forgotten{false};

bool reserve_tables(ProfileState& state) {
  // Where address space is limited, the program shall keep most of it.
  const uint64_t allowed = os::address_space_limit() / 16;
  const size_t quarter = (table_limit < allowed ? table_limit : allowed) / 4;
  const size_t sites = quarter / (sizeof(Site) + sizeof(SiteCounts) + 4 * sizeof(uint32_t));
  return state.sites.reserve(sites, quarter / sizeof(uintptr_t)) &&
         state.samples.reserve(quarter / (sizeof(LiveSample) + 2 * sizeof(uint32_t))) &&
         state.slots.reserve(quarter / sizeof(SampledSlots::Run)) && state.counts.reserve(sites) &&
         state.counts.commit(0, sites) && state.modules.reserve();
}

// The site's counts, of the present profile. Before any of them changes: keeps what lived at the peak.
Site& site_to_change(ProfileState& state, uint32_t index) {
  Site& site = state.sites[index];
  if (site.generation != state.generation) {
    site.generation = state.generation;
    site.allocated = site.bytes = site.live_weight = site.temporary = 0;
    site.live = site.live_at_peak = 0;
    site.peak_epoch = state.peak_epoch;
  }
  if (!state.at_peak && site.peak_epoch != state.peak_epoch) {
    site.live_at_peak = site.live;
    site.peak_epoch = state.peak_epoch;
  }
  return site;
}

void count_allocation(ProfileState& state, const LiveSample& sample, uint64_t bytes) {
  Site& site = site_to_change(state, sample.site);
  ++site.allocated;
  site.bytes += bytes;
  ++site.live;
  site.live_weight += sample.weight;
  ++state.taken;
  state.live_weight += sample.weight;
  if (state.live_weight > state.peak_weight) {
    state.peak_weight = state.live_weight;
    state.at_peak = true;
  }
}

void count_free(ProfileState& state, const LiveSample& sample) {
  if (sample.generation != state.generation) return;  // an earlier profile's
  if (state.at_peak) {
    state.at_peak = false;
    ++state.peak_epoch;
  }
  Site& site = site_to_change(state, sample.site);
  --site.live;
  site.live_weight -= sample.weight;
  if (os::monotonic_ns() - sample.time_ns < kTemporaryNs) ++site.temporary;
  state.live_weight -= sample.weight;
}

void remove_sample(ProfileState& state, uintptr_t address) {
  LiveSample sample;
  if (state.samples.remove(address, sample)) count_free(state, sample);
}

// Runs on their way back to the page layer, once the lock is released.
struct Returned {
  SampledSlots::Extent extent = {0, 0};
  bool any = false;

  ~Returned() {
    if (any) release_slab_run(extent.first, extent.granules);
  }
};

bool is_on() { return sampling.load(std::memory_order_relaxed) != nullptr; }
SampledSlots::Keep keeping() { return is_on() ? SampledSlots::Keep::last : SampledSlots::Keep::none; }

void free_slot(ProfileState& state, const SampledSlots::Place& place, Returned& returned) {
  remove_sample(state, address_of(state.slots.address(place)));
  returned.any = state.slots.give(place, keeping(), returned.extent);
  sampled_frees[place.id].fetch_add(1, std::memory_order_relaxed);
}

// What was put off; the lock is held. Runs that come empty stay until the next stop.
void settle(ProfileState& state) {
  if (PM_UNLIKELY(state.slots.has_put_off())) {
    state.slots.each_put_off([&](const SampledSlots::Place& place) {
      SampledSlots::Extent kept;
      remove_sample(state, address_of(state.slots.address(place)));
      state.slots.give(place, SampledSlots::Keep::always, kept);
    });
  }
  if (PM_UNLIKELY(has_forgotten.load(std::memory_order_relaxed)) &&
      has_forgotten.exchange(false, std::memory_order_acquire)) {
    for (std::atomic<uintptr_t>& address : forgotten) {
      const uintptr_t p = address.exchange(0, std::memory_order_acquire);
      if (p != 0) remove_sample(state, p);
    }
  }
}

class ProfileGuard {
 public:
  ProfileGuard() : guard_(profile_state.lock) { settle(profile_state); }

 private:
  LockGuard guard_;
};

// The site of this allocation; kNoSite, with the sample counted as dropped, if there is no room for it.
uint32_t find_site(uint16_t key) {
  ProfileState& state = profile_state;
  uintptr_t stack[kMaxStack];
  const unsigned depth = capture_stack(stack);
  bool added = false;
  const uint32_t site = state.sites.find_or_add(stack, depth, key, added);
  if (site == kNoSite) drop_samples();
  if (PM_LIKELY(!added)) return site;
  Module module;
  for (unsigned i = 0; i < depth; ++i) {
    // Addresses side by side are often one module's.
    const uintptr_t inside = stack[i] - 1;
    if (i > 0 && inside >= module.code.start && inside < module.code.end) continue;
    module.code = {};
    if (!describe_module(inside, module)) continue;
    const ProfileGuard guard;
    state.modules.add(module);
  }
  return site;
}

// Counts the sample of an object at `p`. False, and dropped, if there is no room; or if another profile has begun.
bool record(ProfileState& state, const SamplingTable& table, void* p, uint32_t site, uint64_t bytes,
            uint32_t requested) {
  if (table.generation != state.generation) return false;
  const LiveSample sample = {
      address_of(p), os::monotonic_ns(), sampled_weight(table.period, bytes), table.generation, requested, site, 0};
  if (!state.samples.add(sample)) {
    drop_samples();
    return false;
  }
  count_allocation(state, sample, bytes);
  return true;
}

enum class Taken : uint8_t { yes, no, no_run };

Taken take_slot(const SamplingTable& table, size_t size, ClassId id, uint32_t site, void*& out) {
  ProfileState& state = profile_state;
  Returned returned;
  const ProfileGuard guard;
  out = state.slots.take(id);
  if (out == nullptr) return Taken::no_run;
  if (record(state, table, out, site, size_class(id).size, static_cast<uint32_t>(size))) return Taken::yes;
  returned.any = state.slots.give(state.slots.find(out), keeping(), returned.extent);
  return Taken::no;
}

// A run more for the class.
bool add_run(ClassId id) {
  const uint32_t granules = SampledSlots::granules_for(id);
  bool clean = false;
  const GranuleIndex first = allocate_slab_run(granules, &clean);
  if (first == kNoGranule) return false;
  const SampledSlots::Extent extent = {first, granules};
  if (profile_state.slots.prepare(extent)) {
    const ProfileGuard guard;
    if (profile_state.slots.add(extent, id)) return true;
  }
  release_slab_run(first, granules);
  return false;
}

void release_empty_runs() {
  for (;;) {
    Returned returned;
    const ProfileGuard guard;
    returned.any = profile_state.slots.take_empty(returned.extent);
    if (!returned.any) return;
  }
}

}  // namespace

uint64_t profile_now_ns() { return os::monotonic_ns(); }

PM_START void profile_configure(uint64_t table_bytes) { table_limit = table_bytes; }

long profile_start(uint64_t period) {
  if (period == 0 || period > kMostPeriod) return -EINVAL;
  const Switch mine;
  if (sampling_table() != nullptr) return -EALREADY;
  ProfileState& state = profile_state;
  if (!profile_exists.load(std::memory_order_relaxed)) {
    if (!reserve_tables(state)) return -ENOMEM;
    note_lasting_objects();
    profile_exists.store(true, std::memory_order_release);
  }
  {
    const ProfileGuard guard;
    ++state.generation;
    state.period = period;
    state.started_ns = os::wall_clock_ns();
    state.taken = 0;
    state.dropped_before = dropped_samples.load(std::memory_order_relaxed);
    state.live_weight = state.peak_weight = 0;
    state.at_peak = true;
  }
  magazine_sample(period, state.generation);
  return 0;
}

long profile_stop() {
  const Switch mine;
  if (sampling_table() == nullptr) return -ESRCH;
  magazine_sample(0, 0);
  release_empty_runs();
  return 0;
}

void prefetch_sampled(const void* p) {
  const GranuleIndex g = region.granule_of(p);
  __builtin_prefetch(&region.block(g));
  __builtin_prefetch(&region.extent(g));
  profile_state.slots.prefetch(p);
  profile_state.samples.prefetch(address_of(p));
}

Sampled sampled_at(const void* p) {
  const GranuleIndex g = region.granule_of(p);
  if (region.block(g).owner.load(std::memory_order_acquire) == 0) return Sampled::no;
  const Sampled what = region.extent(g).sampled.load(std::memory_order_acquire);
  return what == Sampled::object && region.address(g) != p ? Sampled::no : what;
}

void* profile_allocate(size_t size, ClassId id) {
  const SamplingTable* const table = sampling_table();
  if (table == nullptr) return nullptr;
  if (PM_UNLIKELY(inside_lock())) {
    drop_samples();
    return nullptr;
  }
  const uint32_t site = find_site(id);
  if (site == kNoSite) return nullptr;
  void* p = nullptr;
  if (size == 0) size = 1;  // 0 is what large objects have
  Taken taken = take_slot(*table, size, id, site, p);
  while (taken == Taken::no_run) {
    if (!add_run(id)) {
      drop_samples();
      return nullptr;
    }
    taken = take_slot(*table, size, id, site, p);
  }
  return taken == Taken::yes ? p : nullptr;
}

void profile_large(void* p, size_t bytes) {
  const SamplingTable* const table = sampling_table();
  if (table == nullptr || !draw_bytes(*table, bytes)) return;
  if (PM_UNLIKELY(inside_lock())) return drop_samples();
  const uint32_t site = find_site(size_key(bytes));
  if (site == kNoSite) return;
  const ProfileGuard guard;
  if (!record(profile_state, *table, p, site, bytes, 0)) return;
  region.extent(region.granule_of(p)).sampled.store(Sampled::object, std::memory_order_release);
}

void profile_forget(void* p) {
  std::atomic<Sampled>& mark = region.extent(region.granule_of(p)).sampled;
  if (mark.exchange(Sampled::no, std::memory_order_acq_rel) != Sampled::object) return;
  if (PM_LIKELY(!inside_lock())) {
    const ProfileGuard guard;
    return remove_sample(profile_state, address_of(p));
  }
  for (std::atomic<uintptr_t>& place : forgotten) {
    uintptr_t none = 0;
    if (!place.compare_exchange_strong(none, address_of(p), std::memory_order_release, std::memory_order_relaxed)) {
      continue;
    }
    return has_forgotten.store(true, std::memory_order_release);
  }
}

namespace {

SampledPlace describe(const SampledSlots::Place& place) {
  using What = SampledPlace::What;
  const size_t size = size_class(place.id).size;
  if (place.object == nullptr) return {What::nothing, size, nullptr};
  return {!place.exact ? What::inside : place.is_free ? What::freed : What::object, size, place.object};
}

}  // namespace

SampledPlace profile_find(const void* p) { return describe(profile_state.slots.find(p)); }

SampledPlace profile_free(void* p) {
  ProfileState& state = profile_state;
  if (PM_UNLIKELY(inside_lock())) {
    const SampledSlots::Place place = state.slots.find(p);
    SampledPlace found = describe(place);
    if (found.what == SampledPlace::What::object) {
      if (state.slots.put_off(place)) {
        sampled_frees[place.id].fetch_add(1, std::memory_order_relaxed);
      } else {
        found.what = SampledPlace::What::freed;
      }
    }
    return found;
  }
  Returned returned;
  const ProfileGuard guard;
  // The run may have gone meanwhile, if p was none of the caller's.
  if (sampled_at(p) != Sampled::slots) return {SampledPlace::What::freed, 0, p};
  const SampledSlots::Place place = state.slots.find(p);
  const SampledPlace found = describe(place);
  if (found.what == SampledPlace::What::object) free_slot(state, place, returned);
  return found;
}

void count_direct_allocation(ClassId id) { direct_allocations[id].fetch_add(1, std::memory_order_relaxed); }

SampledCounts profile_counts(ClassId id) {
  return {direct_allocations[id].load(std::memory_order_relaxed), sampled_frees[id].load(std::memory_order_relaxed)};
}

ProfileStatistics profile_statistics() {
  ProfileStatistics out = {};
  if (!profile_exists.load(std::memory_order_acquire)) return out;
  ProfileState& state = profile_state;
  if (!inside_lock()) {
    const ProfileGuard guard;
    out.period = is_on() ? state.period : 0;
    out.samples = state.taken;
    out.dropped = dropped_samples.load(std::memory_order_relaxed) - state.dropped_before;
    out.live_samples = state.samples.count();
  }
  out.table_bytes = state.sites.resident_bytes() + state.samples.resident_bytes() + state.slots.resident_bytes() +
                    state.counts.resident_bytes();
  return out;
}

void profile_collect(SlabClassStatistics (&rows)[kMaxClasses]) {
  if (!profile_exists.load(std::memory_order_acquire) || inside_lock()) return;
  const ProfileGuard guard;
  profile_state.slots.collect(rows);
}

void profile_audit() {
  const ProfileGuard guard;
  profile_state.slots.audit();
}

void profile_before_fork() { profile_state.lock.lock(); }
void profile_after_fork_parent() { profile_state.lock.unlock(); }
void profile_after_fork_child(bool interrupted) {
  profile_state.lock.reset_in_child(interrupted);
  profile_state.dumping.store(false, std::memory_order_relaxed);
  switching.store(false, std::memory_order_relaxed);
}

}  // namespace pm
