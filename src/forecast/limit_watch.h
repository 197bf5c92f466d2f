// When usage will meet the limit. With a season: its last peak, carried on by the drift from period to period. Without:
// a line through block maxima, if the maxima rise like a line and not like a step, into heights not seen before. Raises
// the alarm (a minute or less to go), with hysteresis, and keeps count of those that came true.
#pragma once

#include <cstdint>

#include "forecast/series.h"

namespace pm {

class LimitWatch {
 public:
  // Seconds from now; kNoTime: not in sight.
  static constexpr double kNoTime = 1e18;

  struct Outlook {
    double seconds = 0, earliest = 0, latest = 0;
  };

  // Once a step; `limit` and the newest usage in bytes.
  void update(const Series& usage, double limit);
  // Within a step: usage has moved.
  void refresh(double usage, double limit);
  // There is no limit, or no usage, at the moment.
  void suspend();
  void clear() { renew(*this); }

  const Outlook& outlook() const { return outlook_; }
  bool alarm() const { return alarm_; }
  uint64_t alarms() const { return alarms_; }
  uint64_t true_alarms() const { return true_alarms_; }
  uint64_t false_alarms() const { return false_alarms_; }

 private:
  void raise_or_clear(bool met);

  Outlook outlook_ = {kNoTime, kNoTime, kNoTime};
  double last_limit_ = 0;
  bool alarm_ = false;
  bool open_ = false;        // the last alarm has not come true, nor turned out false
  uint32_t near_steps_ = 0;  // in a row that said a minute or less
  uint32_t far_steps_ = 0;   // in a row that said clearly more
  uint32_t open_steps_ = 0;  // since the last alarm
  uint64_t alarms_ = 0, true_alarms_ = 0, false_alarms_ = 0;
};

}  // namespace pm
