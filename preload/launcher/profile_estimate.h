// From counts of samples to objects and bytes, and how far off they may be.
//
// Samples lie a mean of `period` bytes apart, at random (a Poisson process over the bytes allocated), so an object of
// `size` bytes is sampled with probability q = 1 - exp(-size / period), and each sample stands for 1 / q objects. The
// number of samples is binomial in the true number N, with variance N q (1 - q); N is estimated, so the variance of n /
// q is estimated by n (1 - q) / q^2. Sums of independent counts add their variances.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_ESTIMATE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_ESTIMATE_H_

#include <array>
#include <cmath>
#include <cstdint>

#include "preload/launcher/profile.h"

namespace pm {

enum class Weight { inuse, alloc, peak, temporary };
enum class Unit { objects, bytes };
inline constexpr size_t kWeights = 4;
inline constexpr const char* kWeightNames[kWeights] = {"inuse", "alloc", "peak", "temporary"};

struct Estimate {
  double value = 0;
  double variance = 0;

  double error() const { return std::sqrt(variance); }
  Estimate& operator+=(const Estimate& other) {
    value += other.value;
    variance += other.variance;
    return *this;
  }
  // Of a difference the errors add as well; where both counts hold the same objects, this says more than it has to.
  Estimate& operator-=(const Estimate& other) {
    value -= other.value;
    variance += other.variance;
    return *this;
  }
};

// What was counted, in objects and in bytes.
struct Amount {
  Estimate objects;
  Estimate bytes;

  const Estimate& in(Unit unit) const { return unit == Unit::bytes ? bytes : objects; }
  Amount& operator+=(const Amount& other) {
    objects += other.objects;
    bytes += other.bytes;
    return *this;
  }
  Amount& operator-=(const Amount& other) {
    objects -= other.objects;
    bytes -= other.bytes;
    return *this;
  }
};

// Everything that is counted of a site, a stack or a function.
struct Amounts {
  std::array<Amount, kWeights> of = {};  // by Weight
  std::array<Amount, kAgeSteps> live_by_age = {};

  const Amount& operator[](Weight weight) const { return of[static_cast<size_t>(weight)]; }
  Amounts& operator+=(const Amounts& other);
  Amounts& operator-=(const Amounts& other);
};

// How many objects of the size one sample stands for.
double objects_per_sample(uint64_t size, uint64_t period);

Amount estimate(uint64_t samples, uint64_t size, uint64_t period);
Amounts estimate(const ProfileSite& site, uint64_t period);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_ESTIMATE_H_
