// Which size class looks as if it leaked. Pure arithmetic: no clock, file, thread or atomic.
//
// Live memory that comes and goes has low points; what leaks lifts them. So for each class the lowest number of live
// bytes in each of the last windows is kept, and the score says how steadily those low points rise, over how many
// windows, and by how much compared with the class's size. A program that only starts up rises as well: its rise ends,
// and the score falls with each window that brings none. A season longer than all windows together looks like a leak
// while it rises.
#pragma once

#include <cstdint>

#include "slab/size_class.h"

namespace pm {

// Large objects count as one class more, under number 0.
inline constexpr unsigned kLeakRows = kMaxClasses;

struct LeakSuspicion {
  uint32_t score_permille;  // of the most suspicious class; 0: nothing to see
  uint32_t size;            // its object size; 0: large objects
  uint64_t growth_bytes;    // by how much its low point has risen over the windows
};

class LeakWatch {
 public:
  static constexpr unsigned kWindows = 8;
  static constexpr uint64_t kWindowNs = 30'000'000'000;
  // A rise of less than this over all windows is nobody's leak.
  static constexpr uint64_t kNoticeBytes = 1 << 20;

  // Live bytes of every class at `now_ns`; called some times a window. Cheap: one comparison a class.
  void add(uint64_t now_ns, const uint64_t (&live)[kLeakRows], unsigned classes);

  // Of class `row`.
  uint32_t score(unsigned row, uint64_t* growth) const;
  // The row with the highest score; `growth` gets its rise. 0 rows: none.
  uint32_t worst(unsigned* row, uint64_t* growth) const;

 private:
  struct Row {
    uint64_t low;             // of the window under way
    uint64_t lows[kWindows];  // of the ones before it, oldest first
  };

  Row rows_[kLeakRows] = {};
  unsigned classes_ = 0;
  unsigned filled_ = 0;  // complete windows
  uint64_t window_start_ns_ = 0;
  bool started_ = false;
};

}  // namespace pm
