// Which allocations the heap profile samples: a Poisson process over the bytes handed out.
//
// Each byte is a sample's with the same small chance, so an object of `size` bytes is one with the probability
// 1 - exp(-size / period), whatever was allocated before. The hot path does not draw for each object: the number of
// pops until the next sampled one of a class is drawn ahead and put into the magazine's word (arming.h). Everything
// that does not pop draws for itself.
//
// Sampling is off while `sampling` is null. Its tables are written under the layout lock, by turns, so that a thread
// that still reads the old one reads a whole one.
#pragma once

#include <atomic>
#include <cstdint>

#include "slab/size_class.h"

namespace pm {

struct SamplingTable {
  uint64_t period;                  // mean bytes between samples; 1: every allocation is sampled
  uint32_t generation;              // of the profile; each differs from the one before by 1
  double objects[kMaxClasses];      // period / size: mean objects between samples, for large ones
  uint64_t threshold[kMaxClasses];  // a random number below it is a sample; UINT64_MAX: always
};

// Release by the starter pairs with acquire: the table behind it is whole.
extern PM_SHARED std::atomic<const SamplingTable*> sampling;

inline const SamplingTable* sampling_table() { return sampling.load(std::memory_order_acquire); }

// Writes a table for `period` bytes and switches to it, or switches sampling off (0). The layout lock is held.
void switch_sampling(uint64_t period, uint32_t generation);

// The place of the next sampled object of the class, from 1 (the next one) up to 2^46.
uint64_t draw_distance(const SamplingTable& table, ClassId id);
// Whether this one object is sampled.
bool draw_object(const SamplingTable& table, ClassId id);
bool draw_bytes(const SamplingTable& table, uint64_t bytes);

// What one sampled object of `bytes` stands for: the bytes of all objects like it, sampled or not, on average.
uint64_t sampled_weight(uint64_t period, uint64_t bytes);

// Samples that were drawn but could not be taken.
extern PM_SHARED std::atomic<uint64_t> dropped_samples;
inline void drop_samples(uint64_t count = 1) { dropped_samples.fetch_add(count, std::memory_order_relaxed); }

}  // namespace pm
