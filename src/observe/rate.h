// How long until the next sample: pure arithmetic on the samples themselves.
//
//   active     usual_ms (2 Hz)
//   growing    a sixty-fourth of the time left until the limit at the growth seen, down to fastest_ms (10 Hz)
//   idle       twice as long each time, up to slowest_ms; a quarter of that while less than a fifth of the
//              limit is left
//
// Idle is a process that neither allocates nor frees worth mentioning and whose usage stays where it is.
#pragma once

#include "forecast/sample.h"

namespace pm {

struct RateOptions {
  uint32_t fastest_ms = 100;
  uint32_t usual_ms = 500;
  uint32_t slowest_ms = 10000;
};

class SamplingRate {
 public:
  void configure(const RateOptions& options);
  // Called with each sample in turn; the delay until the next.
  uint32_t next(const Sample& sample);

 private:
  bool is_idle(const Sample& sample, uint64_t elapsed_ns) const;
  uint32_t active_delay(const Sample& sample, uint64_t elapsed_ns);

  RateOptions options_;
  Sample last_{};
  uint64_t growth_ = 0;  // bytes a second, the larger of the latest and half the one before
  uint32_t delay_ms_ = 0;
  bool started_ = false;
};

}  // namespace pm
