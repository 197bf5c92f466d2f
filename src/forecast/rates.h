// Bytes allocated and freed per second, now and a minute ahead.
#pragma once

#include <cstdint>

#include "forecast/numbers.h"

namespace pm {

class Rates {
 public:
  // Totals since start, and the seconds since the last call. A total that falls (a restart) is passed over.
  void update(uint64_t allocated, uint64_t freed, double seconds);
  void clear() { renew(*this); }

  uint64_t allocation() const { return double_as_bytes(allocation_.fast); }
  uint64_t release() const { return double_as_bytes(release_.fast); }
  uint64_t allocation_forecast() const { return double_as_bytes(allocation_.forecast()); }
  uint64_t release_forecast() const { return double_as_bytes(release_.forecast()); }

 private:
  // Two averages of one rate; the one that has foretold a minute ahead better is the forecast.
  struct Rate {
    uint64_t total = 0;
    double fast = 0, slow = 0;  // over 2 s, over 60 s
    double fast_error = 0, slow_error = 0;
    double fast_then = 0, slow_then = 0;  // as they were up to a minute ago

    void update(uint64_t now, double seconds, double known_seconds);
    void judge();
    double forecast() const { return fast_error < slow_error ? fast : slow; }
  };

  Rate allocation_, release_;
  double known_seconds_ = 0;    // since the first total
  double pending_seconds_ = 0;  // not accounted for yet
  double since_judged_ = 0;
  bool started_ = false;
};

}  // namespace pm
