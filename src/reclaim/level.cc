#include "reclaim/level.h"

namespace pm {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kForeseenFor = 5 * kSecond;   // how long a foreseen level outlasts the forecast that foresaw it
constexpr uint64_t kBackstopFor = 10 * kSecond;  // how long the kernel's own warnings count
constexpr uint64_t kGrowthHalves = 30 * kSecond;
constexpr uint64_t kHighestHalves = 300 * kSecond;
constexpr uint64_t kLongestStep =
    2 * kSecond;  // a longer pause between samples says little about growth in a short one
constexpr uint32_t kLeastConfidence = 200;
constexpr uint64_t kMost = uint64_t{1} << 56;  // no figure is larger than this but garbage and kNoLimit

// How many steps of growth lie between a level's threshold and the limit, at least.
constexpr uint32_t kGrowthMargin[kPressureLevels] = {5, 4, 3, 2, 1};

constexpr unsigned index_of(PressureLevel level) { return static_cast<unsigned>(level); }

bool has(const Sample& sample, Source source) { return (sample.missing >> static_cast<unsigned>(source) & 1) == 0; }

uint64_t share(uint64_t limit, uint32_t percent) { return limit / 100 * percent + limit % 100 * percent / 100; }

bool ordered(const LevelOptions& options) {
  for (unsigned i = 0; i < kPressureLevels; ++i) {
    if (options.percent[i] < 1 || options.percent[i] > 100) return false;
    if (i > 0 && options.percent[i] <= options.percent[i - 1]) return false;
  }
  const uint32_t* seconds = options.seconds;
  return seconds[1] >= seconds[2] && seconds[2] >= seconds[3];
}

uint64_t threshold(const LevelOptions& options, unsigned level, uint64_t limit, uint64_t growth) {
  const uint64_t fixed = share(limit, options.percent[level]);
  const uint64_t beneath = level > 0 ? share(limit, options.percent[level - 1]) : fixed - fixed / 8;
  const uint64_t margin = growth * kGrowthMargin[level];
  const uint64_t adapted = margin < limit ? limit - margin : 0;
  if (adapted >= fixed) return fixed;
  return adapted > beneath ? adapted : beneath;
}

// Half of it is left after `halves`.
uint64_t faded(uint64_t value, uint64_t step_ns, uint64_t halves) {
  const uint64_t step = step_ns < halves ? step_ns : halves;
  return value - value / 4096 * (step * 2839 / halves);
}

PressureLevel higher(PressureLevel a, PressureLevel b) { return a > b ? a : b; }

}  // namespace

uint64_t effective_limit(const Sample& sample) {
  uint64_t limit = has(sample, Source::limit) && has(sample, Source::usage) ? sample.limit_bytes : kNoLimit;
  if (limit != kNoLimit && limit > kMost) limit = kNoLimit;
  if (has(sample, Source::host) && sample.host_available_bytes < kMost && sample.usage_bytes < kMost) {
    const uint64_t host = sample.usage_bytes + sample.host_available_bytes;
    if (host < limit) limit = host;
  }
  return limit;
}

void LevelTracker::configure(const LevelOptions& options) { options_ = ordered(options) ? options : kDefaultLevels; }

PressureLevel LevelTracker::update(const Sample& sample, const Forecast& forecast) {
  const uint64_t limit = effective_limit(sample);
  const uint64_t usage = sample.usage_bytes < kMost ? sample.usage_bytes : kMost;
  const bool forward = seen_ && sample.time_ns > last_ns_;
  const uint64_t step = forward ? sample.time_ns - last_ns_ : 0;
  learn_growth(usage, step);
  const PressureLevel warned = backstop(sample, step);
  const PressureLevel expected = foresee(sample.time_ns, forecast);
  seen_ = true;
  last_ns_ = sample.time_ns;

  room_ = kNoLimit;
  if (limit == kNoLimit) return level_ = PressureLevel::calm;

  // By share: up to the highest level whose threshold is met, down only past the one beneath.
  unsigned entered = 0;
  unsigned kept = 0;
  for (unsigned i = 1; i < kPressureLevels; ++i) {
    if (usage >= threshold(options_, i, limit, growth_)) entered = i;
    if (usage >= threshold(options_, i - 1, limit, growth_)) kept = i;
  }
  unsigned level = index_of(by_share_);
  if (entered > level) level = entered;
  if (kept < level) level = kept;
  by_share_ = static_cast<PressureLevel>(level);
  level_ = higher(by_share_, expected);
  if (usage >= threshold(options_, 0, limit, growth_)) level_ = higher(level_, warned);

  const unsigned next = index_of(level_) + 1;
  const uint64_t entry = next < kPressureLevels ? threshold(options_, next, limit, growth_) : 0;
  room_ = entry > usage ? entry - usage : 0;
  return level_;
}

void LevelTracker::learn_growth(uint64_t usage, uint64_t step_ns) {
  if (!seen_) highest_ = usage;
  if (step_ns == 0) return;
  growth_ = faded(growth_, step_ns, kGrowthHalves);
  if (usage <= highest_) {
    highest_ = usage + faded(highest_ - usage, step_ns, kHighestHalves);
    return;
  }
  if (step_ns <= kLongestStep && usage - highest_ > growth_) growth_ = usage - highest_;
  highest_ = usage;
}

PressureLevel LevelTracker::foresee(uint64_t now_ns, const Forecast& forecast) {
  PressureLevel expected = PressureLevel::calm;
  PressureLevel holds = PressureLevel::calm;
  if (forecast.confidence_permille >= kLeastConfidence && forecast.seconds_to_limit != kNever) {
    for (unsigned i = index_of(PressureLevel::moderate); i <= index_of(PressureLevel::critical); ++i) {
      if (forecast.seconds_to_limit <= options_.seconds[i]) expected = static_cast<PressureLevel>(i);
      if (forecast.seconds_to_limit / 2 <= options_.seconds[i]) holds = static_cast<PressureLevel>(i);
    }
  }
  // A clock that ran backwards ends what was foreseen.
  const bool over = now_ns >= foreseen_until_ns_ || foreseen_until_ns_ - now_ns > kForeseenFor;
  if (expected >= foreseen_ || (over && holds < foreseen_)) {
    foreseen_ = expected >= foreseen_ ? expected : holds;
    foreseen_until_ns_ = now_ns + kForeseenFor;
  } else if (holds >= foreseen_) {
    foreseen_until_ns_ = now_ns + kForeseenFor;
  }
  return foreseen_;
}

PressureLevel LevelTracker::backstop(const Sample& sample, uint64_t step_ns) {
  const uint64_t stalled = sample.stall_ns > last_stall_ns_ ? sample.stall_ns - last_stall_ns_ : 0;
  const bool stalls = has(sample, Source::pressure) && step_ns != 0 && stalled >= step_ns / 10;
  const bool met = has(sample, Source::events) && seen_ && sample.limit_events > last_events_;
  if (has(sample, Source::pressure)) last_stall_ns_ = sample.stall_ns;
  if (has(sample, Source::events)) last_events_ = sample.limit_events;
  if (step_ns != 0 && (stalls || met)) warned_at_ns_ = sample.time_ns;
  const bool recent =
      warned_at_ns_ != 0 && sample.time_ns >= warned_at_ns_ && sample.time_ns - warned_at_ns_ < kBackstopFor;
  return recent ? PressureLevel::high : PressureLevel::calm;
}

}  // namespace pm
