#include "observe/rate.h"

namespace pm {
namespace {

constexpr uint64_t kSecond = 1000000000;
// What a process does that is left alone: housekeeping, a heartbeat.
constexpr uint64_t kIdleBytesPerSecond = 64 << 10;
constexpr uint64_t kFlatBytes = 1 << 20;
// Samples wanted between now and the limit.
constexpr uint64_t kSamplesToLimit = 64;

uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

// a * b / c, saturating, and coarse where a * b does not fit; c > 0.
uint64_t scale(uint64_t a, uint64_t b, uint64_t c) {
  uint64_t product;
  if (!__builtin_mul_overflow(a, b, &product)) return product / c;
  const uint64_t larger = a > b ? a : b;
  const uint64_t smaller = a > b ? b : a;
  return __builtin_mul_overflow(larger / c, smaller, &product) ? UINT64_MAX : product;
}

uint64_t headroom_of(const Sample& sample) {
  if (sample.limit_bytes == kNoLimit) return kNoLimit;
  return sample.limit_bytes > sample.usage_bytes ? sample.limit_bytes - sample.usage_bytes : 0;
}

}  // namespace

void SamplingRate::configure(const RateOptions& options) {
  options_ = options;
  if (options_.fastest_ms == 0) options_.fastest_ms = 1;
  if (options_.usual_ms < options_.fastest_ms) options_.usual_ms = options_.fastest_ms;
  if (options_.slowest_ms < options_.usual_ms) options_.slowest_ms = options_.usual_ms;
  started_ = false;
  growth_ = 0;
  delay_ms_ = options_.usual_ms;
}

bool SamplingRate::is_idle(const Sample& sample, uint64_t elapsed_ns) const {
  const uint64_t turnover = distance(sample.heap.allocated_bytes, last_.heap.allocated_bytes) +
                            distance(sample.heap.freed_bytes, last_.heap.freed_bytes);
  return turnover <= scale(kIdleBytesPerSecond, elapsed_ns, kSecond) + 4096 &&
         distance(sample.usage_bytes, last_.usage_bytes) <= kFlatBytes &&
         distance(sample.resident_bytes, last_.resident_bytes) <= kFlatBytes &&
         sample.limit_bytes == last_.limit_bytes && sample.limit_events == last_.limit_events;
}

uint32_t SamplingRate::active_delay(const Sample& sample, uint64_t elapsed_ns) {
  const uint64_t grown = sample.usage_bytes > last_.usage_bytes ? sample.usage_bytes - last_.usage_bytes : 0;
  const uint64_t now = scale(grown, kSecond, elapsed_ns);
  growth_ = now > growth_ / 2 ? now : growth_ / 2;
  const uint64_t headroom = headroom_of(sample);
  if (headroom == kNoLimit || growth_ == 0) return options_.usual_ms;
  const uint64_t wanted = scale(headroom, 1000, growth_) / kSamplesToLimit;
  if (wanted >= options_.usual_ms) return options_.usual_ms;
  return wanted <= options_.fastest_ms ? options_.fastest_ms : static_cast<uint32_t>(wanted);
}

uint32_t SamplingRate::next(const Sample& sample) {
  // A clock that stood still or went back says nothing about rates.
  const bool comparable = started_ && sample.time_ns > last_.time_ns;
  if (!comparable) {
    delay_ms_ = options_.usual_ms;
  } else {
    const uint64_t elapsed_ns = sample.time_ns - last_.time_ns;
    if (is_idle(sample, elapsed_ns)) {
      growth_ = 0;
      const bool near = headroom_of(sample) < sample.limit_bytes / 5 && sample.limit_bytes != kNoLimit;
      uint32_t longest = near ? options_.slowest_ms / 4 : options_.slowest_ms;
      if (longest < options_.usual_ms) longest = options_.usual_ms;
      delay_ms_ = delay_ms_ > longest / 2 ? longest : delay_ms_ * 2;
    } else {
      delay_ms_ = active_delay(sample, elapsed_ns);
    }
  }
  last_ = sample;
  started_ = true;
  return delay_ms_;
}

}  // namespace pm
