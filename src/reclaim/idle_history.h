// How long memory at each height of demand stays idle before it is wanted again, and what that says about keeping it.
// Pure arithmetic; one thread. All zeros is a fresh one.
//
// Heights are cut into kCells equal cells from 0 to above the highest demand seen; the cells double when demand
// outgrows them, and halve when their upper half has been idle for an hour. A cell above current demand is idle since
// demand last was in it or above. When demand comes back, the idle time is a gap: an event in the cell's histogram and
// in one of all cells together. Old events fade as new ones come.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm {

// What a decision costs: of holding a byte's worth of memory, and of dropping it. Any unit, the same for both.
struct IdlePrice {
  uint64_t hold_per_second;
  uint64_t drop;
};

class IdleHistory {
 public:
  static constexpr unsigned kCells = 512;
  // Half octaves of idle time from a quarter of a second to more than an hour; the first is shorter, the last longer.
  static constexpr unsigned kBuckets = 30;

  // Demand at a time that does not run backwards. `peak`: the highest demand since the last call, at least `demand`.
  void add(uint64_t now_ns, uint64_t demand, uint64_t peak);

  // The height up to which memory is worth keeping, between the demand and `held`, and how long it is worth that much
  // (UINT64_MAX: as long as demand stays where it is). Call after add.
  struct Verdict {
    uint64_t keep;
    uint64_t valid_ns;
  };
  Verdict judge(uint64_t held, const IdlePrice& price) const;
  // Says that no more than `keep` is kept: within the cell of demand, idle time begins anew from there.
  void settle(uint64_t keep);

  // The lowest height above demand that has been idle for at least `age_ns` (UINT64_MAX if there is none), and how long
  // until there is a lower one.
  struct Resting {
    uint64_t height;
    uint64_t more_in_ns;
  };
  Resting resting(uint64_t age_ns) const;

  uint64_t now_ns() const { return now_ns_; }
  uint64_t demand() const { return demand_; }
  uint64_t cell_bytes() const { return kSmallestCell << doublings_; }

 private:
  static constexpr uint64_t kSmallestCell = 64 * 1024;

  struct Mass {
    uint32_t weight[kBuckets];
  };

  void record(unsigned cell, uint64_t gap_ns);
  void widen();
  void narrow();
  unsigned cell_of(uint64_t height) const;
  // How much longer memory idle for `age_ns` is worth keeping; 0: drop it.
  uint64_t keep_for(unsigned cell, uint64_t age_ns, const Mass& common, const IdlePrice& price) const;
  Mass common_mass() const;

  unsigned doublings_ = 0;  // of the cells
  unsigned top_ = 0;        // the cell demand is in
  uint64_t now_ns_ = 0;
  uint64_t demand_ = 0;
  uint64_t edge_ = 0;  // in the cell of demand, the height that counts as in use
  uint64_t edge_since_ns_ = 0;
  uint64_t idle_since_ns_[kCells] = {};  // of cells above top_; 0: never reached
  uint16_t weight_[kCells][kBuckets] = {};
  uint32_t all_[kBuckets] = {};
};

}  // namespace pm
