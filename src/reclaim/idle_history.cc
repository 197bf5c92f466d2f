#include "reclaim/idle_history.h"

#include "base/bits.h"

namespace pm {
namespace {

constexpr unsigned kBuckets = IdleHistory::kBuckets;

// Time in here is counted in ticks of about a millisecond (2^20 ns).
constexpr unsigned kTickShift = 20;
constexpr unsigned kFirstOctave = 8;  // the first bucket holds what is below 2^8 ticks
constexpr uint64_t kHour = 3600ULL * 1'000'000'000;

constexpr uint32_t kEvent = 256;            // the weight of one gap
constexpr uint32_t kMostOwn = 32 * kEvent;  // a cell's histogram is halved beyond this
constexpr uint32_t kMostCommon = 1u << 23;  // the common one

// Before anything is known, idle times are as likely in one octave as in the next, and some memory is never wanted
// again.
constexpr uint32_t kCommonWeight = kEvent;
constexpr uint32_t kPriorWeight = 2;
constexpr uint32_t kPriorNever = 16;

constexpr uint64_t kLongest = uint64_t{1} << 46;  // heights and prices beyond are garbage, and cut

unsigned bucket_of(uint64_t ticks) {
  if (ticks < (1u << kFirstOctave)) return 0;
  const unsigned octave = log2_floor(ticks);
  const unsigned bucket = 1 + 2 * (octave - kFirstOctave) + static_cast<unsigned>((ticks >> (octave - 1)) & 1);
  return bucket < kBuckets ? bucket : kBuckets - 1;
}

// In ticks; a bucket ends where the next begins, the last one never.
uint64_t begin_of(unsigned bucket) {
  if (bucket == 0) return 0;
  const unsigned octave = kFirstOctave + (bucket - 1) / 2;
  return uint64_t{2 + (bucket - 1) % 2} << (octave - 1);
}

}  // namespace

unsigned IdleHistory::cell_of(uint64_t height) const {
  const uint64_t cell = height / cell_bytes();
  return cell < kCells ? static_cast<unsigned>(cell) : kCells - 1;
}

void IdleHistory::record(unsigned cell, uint64_t gap_ns) {
  const unsigned bucket = bucket_of(gap_ns >> kTickShift);
  uint16_t(&own)[kBuckets] = weight_[cell];
  uint32_t sum = 0;
  for (const uint16_t weight : own) sum += weight;
  if (sum >= kMostOwn) {
    for (uint16_t& weight : own) weight = static_cast<uint16_t>(weight / 2);
  }
  own[bucket] = static_cast<uint16_t>(own[bucket] + kEvent);

  sum = 0;
  for (const uint32_t weight : all_) sum += weight;
  if (sum >= kMostCommon) {
    for (uint32_t& weight : all_) weight /= 2;
  }
  all_[bucket] += kEvent;
}

void IdleHistory::widen() {
  for (unsigned i = 0; i < kCells / 2; ++i) {
    // The lower of the two was reached whenever the upper was.
    idle_since_ns_[i] = idle_since_ns_[2 * i];
    for (unsigned k = 0; k < kBuckets; ++k) {
      weight_[i][k] = static_cast<uint16_t>((weight_[2 * i][k] + weight_[2 * i + 1][k]) / 2);
    }
  }
  for (unsigned i = kCells / 2; i < kCells; ++i) {
    idle_since_ns_[i] = 0;
    for (uint16_t& weight : weight_[i]) weight = 0;
  }
  ++doublings_;
  top_ /= 2;
}

void IdleHistory::narrow() {
  for (unsigned i = kCells; i-- > 0;) {
    idle_since_ns_[i] = idle_since_ns_[i / 2];
    for (unsigned k = 0; k < kBuckets; ++k) weight_[i][k] = weight_[i / 2][k];
  }
  --doublings_;
  top_ = cell_of(demand_);
}

void IdleHistory::add(uint64_t now_ns, uint64_t demand, uint64_t peak) {
  if (demand > kLongest) demand = kLongest;
  if (peak > kLongest) peak = kLongest;
  if (peak < demand) peak = demand;
  if (now_ns < now_ns_) now_ns = now_ns_;
  while (peak / cell_bytes() >= kCells) widen();

  const unsigned reached = cell_of(peak);
  for (unsigned i = top_ + 1; i <= reached; ++i) {
    if (idle_since_ns_[i] != 0) record(i, now_ns - idle_since_ns_[i]);
  }
  const unsigned cell = cell_of(demand);
  const unsigned highest = reached > top_ ? reached : top_;
  for (unsigned i = cell + 1; i <= highest; ++i) idle_since_ns_[i] = now_ns;
  if (cell != top_ || reached != cell || demand > edge_) {
    edge_ = (cell != top_ || reached != cell) ? (uint64_t{cell} + 1) * cell_bytes() : demand;
    edge_since_ns_ = now_ns;
  }
  top_ = cell;
  demand_ = demand;
  now_ns_ = now_ns;

  constexpr unsigned kMiddle = kCells / 2;
  if (top_ < kMiddle && idle_since_ns_[kMiddle] != 0 && now_ns - idle_since_ns_[kMiddle] > kHour && doublings_ > 0) {
    narrow();
  }
}

IdleHistory::Mass IdleHistory::common_mass() const {
  uint64_t sum = 0;
  for (const uint32_t weight : all_) sum += weight;
  Mass mass;
  // One gap is no experience for all cells: the common histogram counts in full from a dozen on.
  for (unsigned k = 0; k < kBuckets; ++k) {
    mass.weight[k] = kPriorWeight + (sum == 0 ? 0 : static_cast<uint32_t>(uint64_t{all_[k]} * kCommonWeight / sum));
  }
  mass.weight[kBuckets - 1] += kPriorNever;
  return mass;
}

uint64_t IdleHistory::keep_for(unsigned cell, uint64_t age_ns, const Mass& common, const IdlePrice& price) const {
  const uint64_t age = age_ns >> kTickShift;
  const unsigned first = bucket_of(age);
  uint64_t tail = 0;
  uint64_t weights[kBuckets];
  for (unsigned k = first; k < kBuckets; ++k) {
    weights[k] = common.weight[k] + weight_[cell][k];
    if (k == first && k + 1 < kBuckets) {
      // Of the bucket that the age lies in, the part beyond it.
      const uint64_t begin = begin_of(k);
      const uint64_t end = begin_of(k + 1);
      weights[k] = weights[k] * (end - age) / (end - begin);
    }
    tail += weights[k];
  }
  // Expected cost of waiting until each bucket's end and then dropping; of not waiting at all.
  uint64_t best = tail * price.drop;
  uint64_t best_until = age;
  uint64_t waited = 0;  // what has been held for those that come back in time
  for (unsigned k = first; k + 1 < kBuckets; ++k) {
    const uint64_t end = begin_of(k + 1);
    const uint64_t middle = ((k == first ? age : begin_of(k)) + end) / 2;
    waited += weights[k] * ((price.hold_per_second * (middle - age)) >> 10);
    tail -= weights[k];
    const uint64_t cost = waited + tail * (((price.hold_per_second * (end - age)) >> 10) + price.drop);
    if (cost < best) {
      best = cost;
      best_until = end;
    }
  }
  return (best_until - age) << kTickShift;
}

IdleHistory::Verdict IdleHistory::judge(uint64_t held, const IdlePrice& price) const {
  if (held > kLongest) held = kLongest;
  Verdict verdict = {held, UINT64_MAX};
  if (held <= demand_) return verdict;
  const IdlePrice sane = {price.hold_per_second < kLongest >> 16 ? price.hold_per_second : kLongest >> 16,
                          price.drop < kLongest >> 8 ? price.drop : kLongest >> 8};
  const Mass common = common_mass();
  const auto consider = [&](unsigned cell, uint64_t since_ns) {
    const uint64_t longer = keep_for(cell, now_ns_ - since_ns, common, sane);
    if (longer != 0 && longer < verdict.valid_ns) verdict.valid_ns = longer;
    return longer != 0;
  };
  // The rest of the cell that demand is in is idle since demand was last at its edge.
  const unsigned next = top_ + 1 < kCells ? top_ + 1 : top_;
  const uint64_t edge = edge_ > demand_ && consider(next, edge_since_ns_) ? edge_ : demand_;
  if (held <= edge) return verdict;
  verdict.keep = edge;
  // Memory that is worth dropping takes all above it along: what lies higher will be wanted later still.
  const unsigned last = cell_of(held - 1);
  for (unsigned i = top_ + 1; i <= last; ++i) {
    if (!consider(i, idle_since_ns_[i])) return verdict;
    verdict.keep = (uint64_t{i} + 1) * cell_bytes();
  }
  if (verdict.keep > held) verdict.keep = held;
  return verdict;
}

void IdleHistory::settle(uint64_t keep) {
  if (keep >= edge_) return;
  edge_ = keep > demand_ ? keep : demand_;
  edge_since_ns_ = now_ns_;
}

IdleHistory::Resting IdleHistory::resting(uint64_t age_ns) const {
  // Idle times do not fall with height, so the first cell that has rested long enough is the lowest.
  uint64_t below = 0;
  for (unsigned i = top_ + 1; i < kCells && idle_since_ns_[i] != 0; ++i) {
    const uint64_t age = now_ns_ - idle_since_ns_[i];
    if (age >= age_ns) return {uint64_t{i} * cell_bytes(), below == 0 ? UINT64_MAX : age_ns - below};
    below = age;
  }
  return {UINT64_MAX, below == 0 ? UINT64_MAX : age_ns - below};
}

}  // namespace pm
