#include "profile/slots.h"

#include "base/check.h"

namespace pm {
namespace {

// Relaxed: written under the lock; who looks without holds the object, whose bit stands still.
constexpr std::memory_order kRelaxed = std::memory_order_relaxed;

uint64_t bit_of(uint32_t slot) { return uint64_t{1} << (slot % 64); }

}  // namespace

bool SampledSlots::reserve(size_t runs) {
  most_runs_ = runs;
  return runs_.reserve(runs) && runs_.commit(0, runs) && run_of_.reserve(region.window_granules());
}

void SampledSlots::link(uint32_t run) {
  Run& r = runs_[run];
  r.previous = 0;
  r.next = partial_[r.id];
  if (r.next != 0) runs_[r.next - 1].previous = run + 1;
  partial_[r.id] = run + 1;
}

void SampledSlots::unlink(uint32_t run) {
  const Run& r = runs_[run];
  if (r.next != 0) runs_[r.next - 1].previous = r.previous;
  if (r.previous != 0) {
    runs_[r.previous - 1].next = r.next;
  } else {
    partial_[r.id] = r.next;
  }
}

bool SampledSlots::add(Extent extent, ClassId id) {
  uint32_t run;
  if (unused_ != 0) {
    run = unused_ - 1;
    unused_ = runs_[run].next;
  } else {
    if (used_runs_ == most_runs_) return false;
    run = used_runs_++;
  }
  Run& r = runs_[run];
  r.first = extent.first;
  r.granules = static_cast<uint8_t>(extent.granules);
  r.size = size_class(id).size;
  r.slots = static_cast<uint16_t>(extent.granules * kGranuleBytes / r.size);
  r.used = 0;
  r.hint = 0;
  r.id = id;
  for (unsigned w = 0; w < kMaxSlots / 64; ++w) {
    const uint32_t left = r.slots > w * 64 ? r.slots - w * 64U : 0;
    r.words[w].free.store(low_bits(left < 64 ? left : 64), kRelaxed);
  }
  for (uint32_t g = extent.first; g < extent.first + extent.granules; ++g) {
    run_of_[g].store(run + 1, kRelaxed);
    // Release pairs with the acquire of whoever frees an object here.
    region.extent(g).sampled.store(Sampled::slots, std::memory_order_release);
  }
  link(run);
  return true;
}

void* SampledSlots::address(const Place& place) const {
  const Run& r = runs_[place.run];
  return static_cast<char*>(region.address(r.first)) + size_t{place.slot} * r.size;
}

void* SampledSlots::take(ClassId id) {
  if (partial_[id] == 0) return nullptr;
  const uint32_t run = partial_[id] - 1;
  Run& r = runs_[run];
  while (r.words[r.hint].free.load(kRelaxed) == 0) ++r.hint;
  const uint64_t bits = r.words[r.hint].free.load(kRelaxed);
  const auto slot = static_cast<uint32_t>(r.hint * 64 + std::countr_zero(bits));
  PM_ASSERT(slot < r.slots);
  r.words[r.hint].free.store(bits & (bits - 1), kRelaxed);
  if (++r.used == r.slots) unlink(run);
  return address({run, slot, id, true, false, nullptr});
}

SampledSlots::Place SampledSlots::find(const void* p) const {
  const uint32_t run = run_of_[region.granule_of(p)].load(kRelaxed) - 1;
  const Run& r = runs_[run];
  char* const start = static_cast<char*>(region.address(r.first));
  const auto slot = static_cast<uint32_t>((address_of(p) - address_of(start)) / r.size);
  if (slot >= r.slots) return {run, slot, r.id, false, true, nullptr};
  char* const object = start + size_t{slot} * r.size;
  const uint64_t gone = r.words[slot / 64].free.load(kRelaxed) | r.words[slot / 64].put_off.load(kRelaxed);
  return {run, slot, r.id, object == p, (gone & bit_of(slot)) != 0, object};
}

// The run leaves its list and the record is free.
SampledSlots::Extent SampledSlots::close(uint32_t run) {
  Run& r = runs_[run];
  const Extent extent = {r.first, r.granules};
  for (uint32_t g = extent.first; g < extent.first + extent.granules; ++g) {
    region.extent(g).sampled.store(Sampled::no, std::memory_order_release);
    run_of_[g].store(0, kRelaxed);
  }
  unlink(run);
  r.slots = 0;
  r.next = unused_;
  unused_ = run + 1;
  return extent;
}

bool SampledSlots::give(const Place& place, Keep keep, Extent& out) {
  Run& r = runs_[place.run];
  const uint64_t bits = r.words[place.slot / 64].free.load(kRelaxed);
  PM_CHECK((bits & bit_of(place.slot)) == 0);
  r.words[place.slot / 64].free.store(bits | bit_of(place.slot), kRelaxed);
  if (place.slot / 64 < r.hint) r.hint = static_cast<uint16_t>(place.slot / 64);
  if (r.used-- == r.slots) link(place.run);
  if (r.used != 0) return false;
  const bool alone = r.next == 0 && r.previous == 0;
  if (keep == Keep::always || (keep == Keep::last && alone)) return false;
  out = close(place.run);
  return true;
}

bool SampledSlots::put_off(const Place& place) {
  const uint64_t before = runs_[place.run].words[place.slot / 64].put_off.fetch_or(bit_of(place.slot), kRelaxed);
  // Release pairs with the acquire of whoever looks.
  has_put_off_.store(true, std::memory_order_release);
  return (before & bit_of(place.slot)) == 0;
}

bool SampledSlots::take_empty(Extent& out) {
  for (uint32_t id = 1; id < class_table->count; ++id) {
    for (uint32_t node = partial_[id]; node != 0; node = runs_[node - 1].next) {
      if (runs_[node - 1].used != 0) continue;
      out = close(node - 1);
      return true;
    }
  }
  return false;
}

void SampledSlots::collect(SlabClassStatistics (&rows)[kMaxClasses]) const {
  for (uint32_t run = 0; run < used_runs_; ++run) {
    const Run& r = runs_[run];
    if (r.slots == 0) continue;
    ++rows[r.id].slabs;
    rows[r.id].slots += r.slots;
    rows[r.id].free_slots += r.slots - r.used;
  }
}

size_t SampledSlots::resident_bytes() const { return runs_.resident_bytes() + run_of_.resident_bytes(); }

void SampledSlots::audit() const {
  for (uint32_t run = 0; run < used_runs_; ++run) {
    const Run& r = runs_[run];
    if (r.slots == 0) continue;
    uint32_t free_slots = 0;
    for (const Word& word : r.words) free_slots += count_bits(word.free.load(kRelaxed));
    PM_CHECK(free_slots + r.used == r.slots);
    for (uint32_t g = r.first; g < r.first + r.granules; ++g) {
      PM_CHECK(class_at(region.address(g)) == kNoClass && run_of_[g].load(kRelaxed) == run + 1);
    }
  }
}

}  // namespace pm
