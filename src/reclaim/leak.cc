#include "reclaim/leak.h"

namespace pm {

void LeakWatch::add(uint64_t now_ns, const uint64_t (&live)[kLeakRows], unsigned classes) {
  classes_ = classes < kLeakRows ? classes : kLeakRows;
  const bool jumped_back = started_ && now_ns < window_start_ns_;
  const bool over = started_ && !jumped_back && now_ns - window_start_ns_ >= kWindowNs;
  if (!started_ || jumped_back || over) {
    for (unsigned i = 0; i < classes_; ++i) {
      Row& row = rows_[i];
      if (over) {
        for (unsigned w = 1; w < kWindows; ++w) row.lows[w - 1] = row.lows[w];
        row.lows[kWindows - 1] = row.low;
      }
      row.low = live[i];
    }
    if (over && filled_ < kWindows) ++filled_;
    window_start_ns_ = now_ns;
    started_ = true;
    return;
  }
  for (unsigned i = 0; i < classes_; ++i) {
    if (live[i] < rows_[i].low) rows_[i].low = live[i];
  }
}

uint32_t LeakWatch::score(unsigned row, uint64_t* growth) const {
  *growth = 0;
  if (filled_ < 3) return 0;
  const uint64_t* const lows = rows_[row].lows + (kWindows - filled_);
  const uint64_t first = lows[0];
  const uint64_t last = lows[filled_ - 1];
  if (last < first + kNoticeBytes) return 0;
  *growth = last - first;
  // A rise that counts is a fair part of the mean rise; so growth that came all at once scores one window only.
  const uint64_t step = *growth / (filled_ - 1) / 4;
  unsigned rises = 0;
  for (unsigned w = 1; w < filled_; ++w) rises += lows[w] > lows[w - 1] + step;
  const uint64_t steady = uint64_t{1000} * rises / (kWindows - 1);
  // Doubling over the windows is as suspicious as can be; a tenth is still a good part of that.
  const uint64_t relative = *growth >= first ? 1000 : 500 + 500 * *growth / (first + 1);
  const uint64_t share = *growth * 10 >= first ? relative : 500 * (*growth * 10) / (first + 1);
  return static_cast<uint32_t>(steady * share / 1000);
}

uint32_t LeakWatch::worst(unsigned* row, uint64_t* growth) const {
  uint32_t best = 0;
  *row = 0;
  *growth = 0;
  for (unsigned i = 0; i < classes_; ++i) {
    uint64_t rise = 0;
    const uint32_t now = score(i, &rise);
    if (now < best || now == 0 || (now == best && rise <= *growth)) continue;
    best = now;
    *row = i;
    *growth = rise;
  }
  return best;
}

}  // namespace pm
