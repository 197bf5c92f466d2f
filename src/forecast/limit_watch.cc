#include "forecast/limit_watch.h"

namespace pm {

namespace {

constexpr uint32_t kMinute = 60 * kStepsPerSecond;
constexpr double kFarFactor = 1.5;    // an alarm ends when the time to go is so much above a minute
constexpr uint32_t kRaiseSteps = 2;   // in a row, before an alarm is raised
constexpr uint32_t kClearSteps = 60;  // noise hides a leak for a while; it is not gone for that
constexpr uint32_t kComeTrueSteps = 2 * kMinute;
constexpr double kMet = 0.995;    // usage at this share of the limit has met it
constexpr double kSpread = 1.64;  // of 90 % of a normal distribution

using Outlook = LimitWatch::Outlook;
constexpr Outlook kNothing = {LimitWatch::kNoTime, LimitWatch::kNoTime, LimitWatch::kNoTime};

// Until a line from `level` meets the limit, `rise` per second; the rise and the level are known to within an error.
Outlook along_line(double level, double rise, double level_error, double rise_error, double limit) {
  const auto time = [](double room, double speed) {
    if (room <= 0) return 0.0;
    return speed > 0 ? smaller(room / speed, LimitWatch::kNoTime) : LimitWatch::kNoTime;
  };
  return {time(limit - level, rise), time(limit - level - level_error, rise + rise_error),
          time(limit - level + level_error, rise - rise_error)};
}

Outlook sooner(const Outlook& a, const Outlook& b) { return b.seconds < a.seconds ? b : a; }

// Maxima of `count` neighbouring blocks of `length` steps, oldest first, the newest ending now.
void block_maxima(const History& history, uint32_t length, uint32_t count, double* maxima) {
  for (uint32_t i = 0; i < count; ++i) maxima[i] = history.largest((count - 1 - i) * length, length);
}

// Season's peak and drift.
Outlook by_season(const Series& usage, double limit) {
  constexpr uint32_t kMostGroups = 6;
  const History& history = usage.history();
  const uint32_t period = usage.season().period();
  // Peaks of groups of whole periods, at least 30 s, give the growth of the peaks, which may exceed the drift of all.
  const uint32_t group = period * ((History::kBlockSteps + period - 1) / period);
  const uint32_t whole = history.size() / group;
  const uint32_t count = whole < kMostGroups ? whole : kMostGroups;
  double drift = usage.season().drift();
  double drift_error = absolute(drift) * 0.25;
  double peaks[kMostGroups];
  double spread = 0;
  block_maxima(history, group, count, peaks);
  if (count >= 3) {
    const Line line = Line::through(peaks, count);
    drift = line.slope / group;
    drift_error = kSpread * line.slope_error / group;
    spread = line.spread;
  }
  const double peak = count > 0 ? peaks[count - 1] : history.largest(0, history.size());
  // Peaks scatter: the next one is expected at the upper edge of where their line leads.
  const double margin = count >= 3 ? larger(0, Line::through(peaks, count).at(count - 1) - peak) + spread : 0;

  // Step by step through the next two minutes, the last period carried on.
  const uint32_t reach = 2 * kMinute;
  for (uint32_t ahead = 1, times = 1; ahead <= reach; ++ahead) {
    if (ahead > times * period) ++times;
    if (times * period - ahead >= history.size()) continue;
    const double value = history.at(times * period - ahead) + times * period * drift + margin;
    if (value >= limit) {
      const double seconds = static_cast<double>(ahead) / kStepsPerSecond;
      const double turn = static_cast<double>(period) / kStepsPerSecond;
      return {seconds, larger(0, seconds - turn), seconds + turn};
    }
  }
  Outlook far = along_line(peak, drift * kStepsPerSecond, spread, drift_error * kStepsPerSecond, limit);
  far.seconds = larger(far.seconds, static_cast<double>(reach) / kStepsPerSecond);
  far.latest = larger(far.latest, far.seconds);
  return far;
}

// A line through maxima, if they rise like one.
Outlook by_maxima(const History& history, double limit, uint32_t length, uint32_t count) {
  constexpr uint32_t kMost = 6;
  if (history.size() < length * count) return kNothing;
  double maxima[kMost];
  block_maxima(history, length, count, maxima);
  const Line line = Line::through(maxima, count);
  if (!(line.slope > 0) || line.fit < 0.8) return kNothing;

  // A step is no line: no single rise may be most of the whole, and every block must rise.
  const double rise = maxima[count - 1] - maxima[0];
  uint32_t rising = 0;
  double steepest = 0;
  for (uint32_t i = 1; i < count; ++i) {
    const double one = maxima[i] - maxima[i - 1];
    rising += one > 0;
    steepest = larger(steepest, one);
  }
  if (rising + 1 < count || steepest > 0.6 * rise) return kNothing;
  // Nor may the rise be dying away.
  if (maxima[count - 1] - maxima[count - 2] < 0.5 * rise / (count - 1)) return kNothing;
  // Heights that were seen before and led nowhere are no reason for alarm.
  if (maxima[count - 1] < history.largest_before(length * count)) return kNothing;

  const double seconds = static_cast<double>(length) / kStepsPerSecond;
  const double level = larger(line.at(count - 1), history.at(0));
  return along_line(level, line.slope / seconds, line.spread, kSpread * line.slope_error / seconds, limit);
}

}  // namespace

void LimitWatch::update(const Series& usage, double limit) {
  const History& history = usage.history();
  if (history.size() == 0) return;
  // Another limit: what was forecast for the old one is neither true nor false.
  if (limit != last_limit_) open_ = false;
  last_limit_ = limit;

  const double now = history.at(0);
  if (now >= limit) {
    outlook_ = {0, 0, 0};
  } else if (usage.season().period() != 0) {
    outlook_ = by_season(usage, limit);
  } else {
    outlook_ =
        sooner(by_maxima(history, limit, History::kBlockSteps, 5), by_maxima(history, limit, 10 * kStepsPerSecond, 6));
  }
  raise_or_clear(now >= kMet * limit);
}

void LimitWatch::refresh(double usage, double limit) {
  if (usage >= limit) outlook_ = {0, 0, 0};
}

void LimitWatch::suspend() {
  outlook_ = kNothing;
  alarm_ = open_ = false;
  near_steps_ = far_steps_ = 0;
  last_limit_ = 0;
}

void LimitWatch::raise_or_clear(bool met) {
  const double seconds = outlook_.seconds;
  near_steps_ = seconds <= 60 ? near_steps_ + 1 : 0;
  far_steps_ = seconds > 60 * kFarFactor ? far_steps_ + 1 : 0;
  if (open_) {
    ++open_steps_;
    if (met) {
      ++true_alarms_;
      open_ = false;
    } else if (open_steps_ > kComeTrueSteps) {
      ++false_alarms_;
      open_ = false;
    }
  }
  if (!alarm_ && near_steps_ >= kRaiseSteps) {
    alarm_ = true;
    // Usage that stands at its limit already is a fact, not a forecast.
    if (!met) {
      ++alarms_;
      open_ = true;
      open_steps_ = 0;
    }
  } else if (alarm_ && far_steps_ >= kClearSteps) {
    alarm_ = false;
  }
}

}  // namespace pm
