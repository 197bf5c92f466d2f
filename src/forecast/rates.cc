#include "forecast/rates.h"

namespace pm {

namespace {

constexpr double kFastSeconds = 2;
constexpr double kSlowSeconds = 60;
constexpr double kJudgeSeconds = 60;

// The weight of the newest value in an average over `length` seconds; a plain average while less is known.
double share_of(double seconds, double length, double known) {
  return clamp(seconds / (length < known ? length : known), 0, 1);
}

}  // namespace

void Rates::Rate::update(uint64_t now, double seconds, double known) {
  if (now >= total) {
    const double rate = smaller(bytes_as_double(now - total) / seconds, kMostBytes);
    fast += share_of(seconds, kFastSeconds, known) * (rate - fast);
    slow += share_of(seconds, kSlowSeconds, known) * (rate - slow);
  }
  total = now;
}

void Rates::Rate::judge() {
  constexpr double kShare = 0.1;
  fast_error += kShare * (absolute(fast - fast_then) - fast_error);
  slow_error += kShare * (absolute(fast - slow_then) - slow_error);
  fast_then = fast;
  slow_then = slow;
}

void Rates::update(uint64_t allocated, uint64_t freed, double seconds) {
  if (!started_) {
    started_ = true;
    allocation_.total = allocated;
    release_.total = freed;
    return;
  }
  pending_seconds_ += seconds;
  if (!(pending_seconds_ > 1e-3)) return;  // too short to tell a rate by: the next call spans it
  seconds = pending_seconds_;
  pending_seconds_ = 0;
  known_seconds_ = smaller(known_seconds_ + seconds, 1e9);
  allocation_.update(allocated, seconds, known_seconds_);
  release_.update(freed, seconds, known_seconds_);
  since_judged_ += seconds;
  if (since_judged_ >= kJudgeSeconds) {
    since_judged_ = 0;
    allocation_.judge();
    release_.judge();
  }
}

}  // namespace pm
