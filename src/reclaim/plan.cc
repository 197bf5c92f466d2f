#include "reclaim/plan.h"

namespace pm {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kMinute = 60 * kSecond;
constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGranule = 64 * 1024;
constexpr uint64_t kHugeBlock = 2 * kMiB;
constexpr uint64_t kCalmSlack = 16 * kMiB;
constexpr uint64_t kMost = uint64_t{1} << 46;  // figures beyond are garbage, and cut

constexpr uint64_t kQuietFor = 10 * kSecond;    // without a malloc or free: then the caches are idle too
constexpr uint64_t kDrainEvery = 1 * kSecond;   // below critical
constexpr uint64_t kNotifyEvery = 1 * kSecond;  // from critical on, while it lasts
constexpr uint64_t kBudgetFor = 2 * kSecond;    // how much unused budget is kept
constexpr uint64_t kRisingFor = 5 * kSecond;    // before a rise counts as one
constexpr uint64_t kAheadSeconds = 2;           // prefault what will be wanted within this
constexpr uint32_t kConfident = 700;            // permille
constexpr uint32_t kSafePercent = 80;           // of the limit: what notify aims at
constexpr uint32_t kTogetherPercent = 90;       // of the limit: what we and the others may come to together
constexpr uint32_t kOthersCountPercent = 10;    // of the limit: below this the others do not matter

uint64_t smaller_of(uint64_t a, uint64_t b) { return a < b ? a : b; }
uint64_t larger_of(uint64_t a, uint64_t b) { return a > b ? a : b; }
uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
uint64_t sane(uint64_t bytes) { return smaller_of(bytes, kMost); }
uint64_t share(uint64_t limit, uint32_t percent) { return limit / 100 * percent; }

// How much dearer a byte is while the limit is so near. Where others share it, what we keep is what they may lack;
// alone, it is there for our own next rise.
uint64_t price_factor(PressureLevel level, bool shared) {
  switch (level) {
    case PressureLevel::calm: return 1;
    case PressureLevel::moderate: return shared ? 4 : 1;
    default: return shared ? 16 : 1;
  }
}

Reason reason_of(PressureLevel level) {
  switch (level) {
    case PressureLevel::calm: return Reason::idle;
    case PressureLevel::moderate:
    case PressureLevel::high: return Reason::pressure;
    case PressureLevel::critical: return Reason::limit_near;
    case PressureLevel::emergency: return Reason::emergency;
  }
  return Reason::idle;
}

void add(Plan& plan, Action action, Reason reason, uint64_t goal) {
  if (goal != 0 && plan.count < kMaxSteps) plan.steps[plan.count++] = {action, reason, goal};
}

// What is not known is not held: parts that do not fit into the whole are cut.
Holdings sane_holdings(const Holdings& given) {
  Holdings holdings = given;
  holdings.magazine_bytes = sane(given.magazine_bytes);
  holdings.depot_bytes = sane(given.depot_bytes);
  holdings.empty_slab_bytes = sane(given.empty_slab_bytes);
  holdings.dirty_bytes = sane(given.dirty_bytes);
  holdings.dirty_block_bytes = smaller_of(given.dirty_block_bytes, holdings.dirty_bytes);
  holdings.dirty_run_bytes = smaller_of(given.dirty_run_bytes, holdings.dirty_bytes - holdings.dirty_block_bytes);
  holdings.small_page_bytes = sane(given.small_page_bytes);
  return holdings;
}

}  // namespace

Plan Planner::next(const Sample& sample, const Forecast& forecast, PressureLevel level, const Holdings& given,
                   const Prices& prices) {
  const Holdings holdings = sane_holdings(given);
  tell_time(sample);
  watch_others(sample);
  const Release going = release(sample, level, holdings, prices);

  Plan plan = {};
  if (level != PressureLevel::calm) add_notify(plan, sample, level, holdings);
  const uint64_t caches_in_ns = add_caches(plan, level, holdings);
  add(plan, Action::decommit_blocks, going.reason, going.block_bytes);
  add(plan, Action::decommit_runs, going.reason, going.run_bytes);
  if (level == PressureLevel::calm) add_background(plan, sample, forecast, holdings, prices);
  last_level_ = level;

  const uint64_t kept = holdings.dirty_bytes - going.block_bytes - going.run_bytes;
  const uint64_t slack =
      level >= PressureLevel::high ? kHugeBlock : larger_of(kCalmSlack, sane(sample.heap.used_bytes) / 8);
  plan.wake_dirty_bytes = kept + slack;
  plan.next_in_ns = smaller_of(going.valid_ns, caches_in_ns);
  return plan;
}

void Planner::tell_time(const Sample& sample) {
  if (!started_) {
    now_ns_ = quiet_since_ns_ = minute_since_ns_ = rising_since_ns_ = sample.time_ns;
    rising_from_ = sane(sample.heap.used_bytes);
  }
  started_ = true;
  step_ns_ = sample.time_ns > now_ns_ ? sample.time_ns - now_ns_ : 0;
  now_ns_ += step_ns_;
  // Faster memory is worth most to those who work: a process that sleeps is not made faster.
  const uint64_t permille = smaller_of(options_.background_permille, 1000);
  const uint64_t worked = smaller_of(smaller_of(less(sample.process_cpu_ns, process_cpu_ns_), step_ns_), kBudgetFor);
  process_cpu_ns_ = sample.process_cpu_ns;
  budget_ns_ = smaller_of(budget_ns_ + worked * permille / 1000, kBudgetFor / 1000 * permille);
  const uint64_t turnover = sample.heap.allocated_bytes + sample.heap.freed_bytes;
  if (turnover != turnover_) quiet_since_ns_ = now_ns_;
  turnover_ = turnover;
}

// The others: what the limit counts and is not ours. Their highest of the last one to two minutes is where they may
// soon be again.
void Planner::watch_others(const Sample& sample) {
  if (now_ns_ - minute_since_ns_ >= kMinute) {
    others_before_ = now_ns_ - minute_since_ns_ < 2 * kMinute ? others_high_ : 0;
    others_high_ = 0;
    minute_since_ns_ = now_ns_;
  }
  others_high_ = larger_of(others_high_, less(sane(sample.usage_bytes), sane(sample.resident_bytes)));
}

uint64_t Planner::others() const { return larger_of(others_high_, others_before_); }

// Whether the limit is shared with processes that matter.
bool Planner::shared(uint64_t limit) const {
  return limit != kNoLimit && others() >= share(limit, kOthersCountPercent);
}

bool Planner::lends(const Sample& sample) const {
  const uint64_t limit = effective_limit(sample);
  return shared(limit) && sane(sample.usage_bytes) >= limit / 3;
}

// What has to go whatever it costs. `held` is our demand and the dirty memory above it.
uint64_t Planner::must_go(const Sample& sample, uint64_t held, PressureLevel level) const {
  const uint64_t limit = effective_limit(sample);
  if (limit == kNoLimit) return 0;
  const uint64_t usage = sane(sample.usage_bytes);
  if (level == PressureLevel::emergency) return held;
  if (!shared(limit)) return level == PressureLevel::critical ? less(usage, share(limit, kTogetherPercent)) : 0;
  return level >= PressureLevel::high ? held : less(held + others(), share(limit, kTogetherPercent));
}

Planner::Release Planner::release(const Sample& sample, PressureLevel level, const Holdings& holdings,
                                  const Prices& prices) {
  const uint64_t demand = sane(sample.heap.used_bytes);
  const uint64_t held = demand + holdings.dirty_bytes;
  // More is held than before: demand has been at least that high in between.
  const uint64_t peak = larger_of(last_demand_, held > last_held_ ? held : 0);
  idle_.add(now_ns_, demand, peak);
  const uint64_t factor = price_factor(level, shared(effective_limit(sample)));
  const uint64_t hold = sane(prices.hold_ns_per_mib_second) * factor;
  const uint64_t decommit = sane(prices.decommit_ns_per_mib);
  const uint64_t small = sane(prices.refault_ns_per_mib) + decommit;
  const uint64_t huge = sane(prices.refault_huge_ns_per_mib) + decommit;
  const Keeper::Decision blocks = blocks_.decide(idle_, held, {hold, holdings.huge ? huge : small});
  idle_.settle(blocks.keep);
  const Keeper::Decision runs =
      holdings.huge ? runs_.decide(idle_, held, {hold, small + sane(prices.collapse_ns_per_mib)}) : blocks;

  uint64_t forced = smaller_of(must_go(sample, held, level), holdings.dirty_bytes);
  // So little saves nobody, and would be refaulted again and again.
  if (forced < effective_limit(sample) / 100) forced = 0;
  const uint64_t excess = less(held, blocks.keep);
  Release going = {};
  going.valid_ns = smaller_of(blocks.valid_ns, runs.valid_ns);
  going.reason = blocks.rule == KeepRule::distance ? Reason::distance : Reason::idle;
  if (factor > 1 || forced > excess) going.reason = level == PressureLevel::calm ? Reason::pressure : reason_of(level);
  going.block_bytes = smaller_of(larger_of(excess, forced), holdings.dirty_block_bytes);
  const uint64_t from_runs = larger_of(less(held, runs.keep), forced);
  going.run_bytes = smaller_of(less(from_runs, going.block_bytes), holdings.dirty_run_bytes);
  if (going.block_bytes < kGranule) going.block_bytes = 0;
  if (going.run_bytes < kGranule) going.run_bytes = 0;
  if (demand < last_demand_ - last_demand_ / 512) {
    rising_since_ns_ = now_ns_;
    rising_from_ = demand;
  }
  last_demand_ = demand;
  last_held_ = held - going.block_bytes - going.run_bytes;
  return going;
}

void Planner::add_notify(Plan& plan, const Sample& sample, PressureLevel level, const Holdings& holdings) {
  const bool rose = level > last_level_;
  const bool again = level >= PressureLevel::critical && now_ns_ - notified_ns_ >= kNotifyEvery;
  if (!rose && !again) return;
  notified_ns_ = now_ns_;
  const uint64_t limit = effective_limit(sample);
  const uint64_t free = holdings.magazine_bytes + holdings.depot_bytes + holdings.dirty_bytes;
  const uint64_t wanted =
      limit == kNoLimit ? 0 : less(less(sane(sample.usage_bytes), free), share(limit, kSafePercent));
  // Who subscribed hears of the level even where nothing is wanted yet.
  if (plan.count < kMaxSteps) plan.steps[plan.count++] = {Action::notify, reason_of(level), wanted};
}

// Returns when the caches are worth another look.
uint64_t Planner::add_caches(Plan& plan, PressureLevel level, const Holdings& holdings) {
  const Reason reason = reason_of(level);
  const bool quiet = now_ns_ - quiet_since_ns_ >= kQuietFor;
  // Once in a quiet time: what is cached after that was put there by somebody.
  const bool idle = quiet && drained_ns_ < quiet_since_ns_ + kQuietFor;
  const bool pressed =
      level >= PressureLevel::critical || (level == PressureLevel::high && now_ns_ - drained_ns_ >= kDrainEvery);
  if (pressed || idle) {
    drained_ns_ = now_ns_;
    add(plan, Action::drain_caches, reason, holdings.magazine_bytes + holdings.depot_bytes);
  }
  if (pressed || idle || level >= PressureLevel::moderate) {
    add(plan, Action::release_slabs, reason, holdings.empty_slab_bytes);
  }
  // What a drain has freed can go with the next plan.
  if (idle) return kSecond;
  const bool holds = holdings.magazine_bytes + holdings.depot_bytes != 0;
  return holds && drained_ns_ < quiet_since_ns_ + kQuietFor ? quiet_since_ns_ + kQuietFor - now_ns_ : UINT64_MAX;
}

// By how much demand will have risen shortly: at the pace at which it has been rising for some time without a fall, and
// not faster than the forecast says.
uint64_t Planner::rise_ahead(const Forecast& forecast) const {
  const uint64_t for_ns = now_ns_ - rising_since_ns_;
  if (for_ns < kRisingFor) return 0;
  const uint64_t pace = less(last_demand_, rising_from_) / (for_ns / kSecond);
  const uint64_t expected = less(sane(forecast.demand[0].low), last_demand_) / kHorizonSeconds[0];
  return smaller_of(pace, expected) * kAheadSeconds;
}

// Work that costs time to save time: only while memory is no concern, and within the budget.
void Planner::add_background(Plan& plan, const Sample& sample, const Forecast& forecast, const Holdings& holdings,
                             const Prices& prices) {
  const uint64_t limit = effective_limit(sample);
  const uint64_t room = limit == kNoLimit ? kMost : less(limit, sane(sample.usage_bytes) + limit / 4);
  // What the budget pays for, of `wanted`, in whole huge blocks.
  const auto affordable = [&](uint64_t wanted, uint64_t ns_per_mib) {
    const uint64_t price = larger_of(sane(ns_per_mib), 1);
    const uint64_t goal = smaller_of(smaller_of(wanted, room / 4), budget_ns_ / price * kMiB) / kHugeBlock * kHugeBlock;
    budget_ns_ -= smaller_of(goal / kMiB * price, budget_ns_);
    return goal;
  };

  if (options_.collapse && forecast.trend != Trend::critical) {
    add(plan, Action::collapse, Reason::dense, affordable(holdings.small_page_bytes, prices.collapse_ns_per_mib));
  }
  if (options_.prefault && forecast.trend == Trend::rising && forecast.confidence_permille >= kConfident) {
    const uint64_t wanted = less(rise_ahead(forecast), holdings.dirty_bytes);
    const uint64_t goal =
        affordable(wanted, holdings.huge ? prices.refault_huge_ns_per_mib : prices.refault_ns_per_mib);
    add(plan, Action::prefault, Reason::demand_ahead, goal);
    last_held_ += goal;
  }
}

}  // namespace pm
