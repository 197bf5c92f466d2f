#include "heap/file_slabs.h"

#include "base/check.h"

namespace pm {

bool FileSlabs::init(GranuleIndex first, uint32_t granules) {
  first_ = first;
  if (!records_.reserve(granules)) return false;
  if (records_.commit(0, granules)) return true;
  records_.release();
  return false;
}

void FileSlabs::link(uint32_t node) {
  FileSlab& r = records_[node - 1];
  r.previous = 0;
  r.next = partial_[r.id];
  if (r.next != 0) records_[r.next - 1].previous = node;
  partial_[r.id] = node;
}

void FileSlabs::unlink(uint32_t node) {
  const FileSlab& r = records_[node - 1];
  if (r.next != 0) records_[r.next - 1].previous = r.previous;
  if (r.previous != 0) {
    records_[r.previous - 1].next = r.next;
  } else {
    partial_[r.id] = r.next;
  }
}

void* FileSlabs::take(ClassId id) {
  const uint32_t node = partial_[id];
  if (node == 0) return nullptr;
  FileSlab& r = records_[node - 1];
  while (r.free[r.hint] == 0) ++r.hint;
  const auto slot = static_cast<uint32_t>(r.hint * 64 + std::countr_zero(r.free[r.hint]));
  const SizeClass& c = size_class(id);
  PM_ASSERT(slot < c.slots);
  r.free[r.hint] &= r.free[r.hint] - 1;
  if (++r.used == c.slots) unlink(node);
  return static_cast<char*>(region.address(first_ + node - 1)) + size_t{slot} * c.size;
}

void FileSlabs::add(GranuleIndex run, ClassId id) {
  FileSlab& r = record(run);
  r.used = 0;
  r.hint = 0;
  r.id = id;
  uint32_t slots = size_class(id).slots;
  for (uint64_t& word : r.free) {
    const uint32_t here = slots < 64 ? slots : 64;
    word = low_bits(here);
    slots -= here;
  }
  ExtentRecord& extent = region.extent(run);
  extent.granules = size_class(id).slab_granules;
  extent.state.store(ExtentState::file_slab, std::memory_order_release);
  link(run - first_ + 1);
}

FileSlabs::Slot FileSlabs::find(GranuleIndex run, const void* p) const {
  const FileSlab& r = record(run);
  const SizeClass& c = size_class(r.id);
  char* const start = static_cast<char*>(region.address(run));
  const auto offset = static_cast<uint32_t>(address_of(p) - address_of(start));
  const uint32_t slot = slot_of(c, offset);
  if (slot >= c.slots) return {slot, false, true, nullptr};
  char* const object = start + size_t{slot} * c.size;
  return {slot, object == p, (r.free[slot / 64] >> slot % 64 & 1) != 0, object};
}

bool FileSlabs::give(GranuleIndex run, uint32_t slot) {
  FileSlab& r = record(run);
  PM_CHECK((r.free[slot / 64] >> slot % 64 & 1) == 0);
  r.free[slot / 64] |= uint64_t{1} << slot % 64;
  if (slot / 64 < r.hint) r.hint = static_cast<uint16_t>(slot / 64);
  const bool was_full = r.used-- == size_class(r.id).slots;
  if (r.used == 0) {
    if (!was_full) unlink(run - first_ + 1);
    return true;
  }
  if (was_full) link(run - first_ + 1);
  return false;
}

void FileSlabs::audit() const {
  for (uint32_t id = 1; id < class_table->count; ++id) {
    uint32_t previous = 0;
    for (uint32_t node = partial_[id]; node != 0; node = records_[node - 1].next) {
      const FileSlab& r = records_[node - 1];
      uint32_t free_slots = 0;
      for (const uint64_t word : r.free) free_slots += count_bits(word);
      PM_CHECK(r.id == id && r.previous == previous && r.used != 0);
      PM_CHECK(free_slots != 0 && r.used + free_slots == size_class(r.id).slots);
      PM_CHECK(region.extent(first_ + node - 1).state.load(std::memory_order_relaxed) == ExtentState::file_slab);
      previous = node;
    }
  }
}

}  // namespace pm
