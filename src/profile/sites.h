// The call sites of a profile: a stack and an object size, with what was sampled there.
//
// Found and added without a lock, in a hash table of fixed size whose entries never go: a site that is there stays
// there for the life of the process, and a later profile counts from 0 in the same record (`generation`). Stacks lie
// one behind the other in an array of their own. What does not fit is refused, and the sample dropped.
//
// Ownership: hash, stack, depth and key are written by the one thread that adds the site and published by the release
// store of its index. The counts are guarded by the profile's lock.
#pragma once

#include <atomic>
#include <cstdint>

#include "page/table.h"

namespace pm {

inline constexpr uint32_t kNoSite = UINT32_MAX;

// A cache line: every sample and its free touch one that is likely to be far away.
struct alignas(kCacheLine) Site {
  uint64_t hash;
  uint32_t stack;  // index of its first address
  uint16_t depth;
  uint16_t key;  // of the object size, see size_key
  // Guarded by the profile's lock.
  uint32_t generation;    // of the profile that the counts are of
  uint32_t peak_epoch;    // of `live_at_peak`; see profile.cc
  uint32_t live_at_peak;  // no more samples live than their table holds
  uint32_t live;
  uint64_t live_weight;  // the bytes that those stand for
  uint64_t allocated;
  uint64_t bytes;  // of those
  uint64_t temporary;
};
static_assert(sizeof(Site) == kCacheLine);

// Sizes that share a site: those of one class, or within a quarter of a doubling of each other.
uint16_t size_key(uint64_t bytes);
// The size of the objects of such a key; of large ones the mean of `count` objects of `bytes` together.
uint64_t object_size(uint16_t key, uint64_t bytes, uint64_t count);

class SiteTable {
 public:
  // False if the address space is refused.
  bool reserve(size_t sites, size_t addresses);
  // The site's index, or kNoSite if it is new and there is no room. `added`: this call made it.
  uint32_t find_or_add(const uintptr_t* stack, unsigned depth, uint16_t key, bool& added);

  Site& operator[](uint32_t index) const { return sites_[index]; }
  const uintptr_t* stack_of(const Site& site) const { return addresses_.data() + site.stack; }
  // Indices below it are in use, but for those whose depth is 0.
  uint32_t count() const;
  size_t capacity() const { return most_sites_; }
  size_t resident_bytes() const;

 private:
  uint32_t add(uint64_t hash, const uintptr_t* stack, unsigned depth, uint16_t key);
  bool is_same(const Site& site, uint64_t hash, const uintptr_t* stack, unsigned depth, uint16_t key) const;

  Table<Site> sites_;
  Table<uintptr_t> addresses_;
  Table<std::atomic<uint32_t>> index_;  // site plus one; 0: none
  size_t most_sites_ = 0;
  size_t most_addresses_ = 0;
  size_t index_mask_ = 0;
  // Relaxed: each gives a range of its own to whoever adds.
  std::atomic<uint32_t> used_sites_{0};
  std::atomic<uint64_t> used_addresses_{0};
};

}  // namespace pm
