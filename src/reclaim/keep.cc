#include "reclaim/keep.h"

namespace pm {
namespace {

constexpr double kFadeSeconds = 600;
constexpr double kLongestStep = 60;                       // a pause between samples counts as at most so many seconds
constexpr uint64_t kLongestRest = 20ULL * 1'000'000'000;  // idle memory is the history's alone after this at the latest
constexpr double kMiB = 1024 * 1024;

uint64_t smaller_of(uint64_t a, uint64_t b) { return a < b ? a : b; }
uint64_t larger_of(uint64_t a, uint64_t b) { return a > b ? a : b; }

// From half a cell on, in half octaves: 2, 3, 4, 6, 8... quarters of a cell.
uint64_t distance(uint64_t cell, unsigned i) { return (cell / 4 * (2 + i % 2)) << (i / 2); }

}  // namespace

Keeper::Decision Keeper::decide(const IdleHistory& idle, uint64_t held, const IdlePrice& price) {
  const uint64_t now_ns = idle.now_ns();
  const uint64_t demand = idle.demand();
  double seconds = started_ && now_ns > now_ns_ ? static_cast<double>(now_ns - now_ns_) * 1e-9 : 0;
  if (seconds > kLongestStep) seconds = kLongestStep;
  if (!started_ || now_ns > now_ns_) now_ns_ = now_ns;
  started_ = true;

  const uint64_t most = larger_of(held, static_cast<uint64_t>(shadows_[0].held));
  const IdleHistory::Verdict verdict = idle.judge(most, price);
  // Twice the break-even time is long enough for any rule but the history.
  const uint64_t even_ns =
      price.hold_per_second == 0 ? kLongestRest : price.drop * 2'000 / price.hold_per_second * 1'000'000;
  const IdleHistory::Resting resting = idle.resting(smaller_of(even_ns, kLongestRest));
  const uint64_t rested = larger_of(verdict.keep, resting.height);

  uint64_t keeps[kRules];
  keeps[0] = verdict.keep;
  for (unsigned i = 0; i < kDistances; ++i) keeps[1 + i] = smaller_of(demand + distance(idle.cell_bytes(), i), rested);

  const double left = 1 - seconds / kFadeSeconds;
  const double hold = static_cast<double>(price.hold_per_second) * seconds / kMiB;
  const double drop = static_cast<double>(price.drop) / kMiB;
  const double before = static_cast<double>(demand_);
  const double wanted = static_cast<double>(demand);
  unsigned best = 0;
  for (unsigned i = 0; i < kRules; ++i) {
    Shadow& shadow = shadows_[i];
    shadow.cost = shadow.cost * left + (shadow.held - before) * hold;
    if (wanted > shadow.held) {
      shadow.cost += (wanted - shadow.held) * drop;
      shadow.held = wanted;
    }
    const double keep = static_cast<double>(larger_of(keeps[i], demand));
    if (keep < shadow.held) shadow.held = keep;
    if (shadow.cost < shadows_[best].cost) best = i;
  }

  demand_ = demand;

  const KeepRule rule = best == 0 ? KeepRule::history : KeepRule::distance;
  Decision decision = {smaller_of(larger_of(keeps[best], demand), larger_of(held, demand)), verdict.valid_ns, rule};
  if (rule != KeepRule::history) decision.valid_ns = smaller_of(decision.valid_ns, resting.more_in_ns);
  return decision;
}

}  // namespace pm
