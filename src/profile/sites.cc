#include "profile/sites.h"

#include <cstring>

#include "base/check.h"
#include "slab/size_class.h"

namespace pm {
namespace {

uint64_t hash_of(const uintptr_t* stack, unsigned depth, uint16_t key) {
  uint64_t hash = key * 0x9e3779b97f4a7c15U + depth;
  for (unsigned i = 0; i < depth; ++i) {
    hash = (hash ^ stack[i]) * 0xff51afd7ed558ccdU;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

uint16_t size_key(uint64_t bytes) {
  if (bytes <= kMaxClassSize) return class_of(bytes);
  const unsigned doublings = log2_floor(bytes);
  const uint64_t fraction = bytes >> (doublings - 8);  // 256 to 511
  const unsigned quarter = fraction < 304 ? 0 : fraction < 362 ? 1 : fraction < 431 ? 2 : 3;
  return static_cast<uint16_t>(kMaxClasses + doublings * 4 + quarter);
}

uint64_t object_size(uint16_t key, uint64_t bytes, uint64_t count) {
  return key < kMaxClasses ? size_class(static_cast<ClassId>(key)).size : bytes / count;
}

bool SiteTable::reserve(size_t sites, size_t addresses) {
  most_sites_ = sites;
  most_addresses_ = addresses;
  const size_t places = std::bit_ceil(sites * 2);
  index_mask_ = places - 1;
  return sites_.reserve(sites) && addresses_.reserve(addresses) && index_.reserve(places) && sites_.commit(0, sites) &&
         addresses_.commit(0, addresses) && index_.commit(0, places);
}

uint32_t SiteTable::count() const {
  const uint32_t used = used_sites_.load(std::memory_order_relaxed);
  return used < most_sites_ ? used : static_cast<uint32_t>(most_sites_);
}

size_t SiteTable::resident_bytes() const {
  return sites_.resident_bytes() + addresses_.resident_bytes() + index_.resident_bytes();
}

bool SiteTable::is_same(const Site& site, uint64_t hash, const uintptr_t* stack, unsigned depth, uint16_t key) const {
  const bool same = site.hash == hash && site.depth == depth && site.key == key;
  // Sixty-four bits tell a hundred thousand stacks apart: a look at the stack itself would be one more at far memory.
  PM_ASSERT(!same || memcmp(stack_of(site), stack, depth * sizeof *stack) == 0);
  static_cast<void>(stack);
  return same;
}

uint32_t SiteTable::add(uint64_t hash, const uintptr_t* stack, unsigned depth, uint16_t key) {
  // Looked at first, so that what is full is not counted up for ever.
  if (used_sites_.load(std::memory_order_relaxed) >= most_sites_) return kNoSite;
  const uint64_t first = used_addresses_.fetch_add(depth, std::memory_order_relaxed);
  if (first + depth > most_addresses_) {
    used_addresses_.fetch_sub(depth, std::memory_order_relaxed);
    return kNoSite;
  }
  const uint32_t index = used_sites_.fetch_add(1, std::memory_order_relaxed);
  if (index >= most_sites_) {
    used_sites_.fetch_sub(1, std::memory_order_relaxed);
    return kNoSite;
  }
  Site& site = sites_[index];
  memcpy(addresses_.data() + first, stack, depth * sizeof *stack);
  site.hash = hash;
  site.stack = static_cast<uint32_t>(first);
  site.key = key;
  site.depth = static_cast<uint16_t>(depth);
  return index;
}

uint32_t SiteTable::find_or_add(const uintptr_t* stack, unsigned depth, uint16_t key, bool& added) {
  added = false;
  const uint64_t hash = hash_of(stack, depth, key);
  uint32_t mine = kNoSite;
  for (size_t at = hash & index_mask_;; at = (at + 1) & index_mask_) {
    // Acquire pairs with the release below: the site behind the index is whole.
    uint32_t found = index_[at].load(std::memory_order_acquire);
    if (found == 0) {
      if (mine == kNoSite) mine = add(hash, stack, depth, key);
      if (mine == kNoSite) return kNoSite;
      if (index_[at].compare_exchange_strong(found, mine + 1, std::memory_order_release, std::memory_order_acquire)) {
        added = true;
        return mine;
      }
    }
    if (is_same(sites_[found - 1], hash, stack, depth, key)) {
      // Another thread added it meanwhile: ours is nobody's.
      if (mine != kNoSite) sites_[mine].depth = 0;
      return found - 1;
    }
  }
}

}  // namespace pm
