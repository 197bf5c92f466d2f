// What `poolmalloc top` shows, as lines of text: made from two pages of a process and the history of what was seen so
// far. No terminal in here, so that a script gets the same frame as a person.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_TOP_FRAME_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_TOP_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "preload/launcher/live_sites.h"
#include "preload/launcher/target.h"

namespace pm {

enum class LineStyle { plain, title, heading, good, warning, alarm, faint, selected };

struct TopLine {
  std::string text;  // UTF-8; not cut to the width
  LineStyle style = LineStyle::plain;
};

// The lower half of the view.
enum class TopPane { classes, sites, cpus, nodes, events };
inline constexpr unsigned kTopPanes = 5;
inline constexpr const char* kTopPaneNames[kTopPanes] = {"classes", "sites", "cpus", "nodes", "events"};

// By what the size classes are sorted, the largest first.
enum class ClassOrder { live, rate, growth, cached, size };
inline constexpr unsigned kClassOrders = 5;

// What was seen of a process since the view began.
class TopHistory {
 public:
  // One look at the page of a process that has run for `age_seconds`. A page that was not written anew since the last
  // look changes no rate.
  void add(const PageBody& body, uint64_t age_seconds);

  const PageBody* now() const { return bodies_ > 0 ? now_.get() : nullptr; }
  const PageBody* before() const { return bodies_ > 1 ? before_.get() : nullptr; }
  // Seconds between the two; if there is only one, since the process began.
  double seconds() const;

  struct Point {
    uint64_t live, resident, dirty, cached, mallocs;
  };
  // The newest last, at most kPoints.
  static constexpr size_t kPoints = 240;
  const std::deque<Point>& points() const { return points_; }

 private:
  std::unique_ptr<PageBody> now_ = std::make_unique<PageBody>();
  std::unique_ptr<PageBody> before_ = std::make_unique<PageBody>();
  unsigned bodies_ = 0;
  uint64_t age_seconds_ = 0;
  std::deque<Point> points_;
};

struct TopView {
  TopPane pane = TopPane::classes;
  std::vector<LiveSite> sites;  // of the newest page, for the pane of that name
  ClassOrder order = ClassOrder::live;
  size_t scroll = 0;  // rows of the lower half that are above it
  bool paused = false;
  bool ended = false;   // the process is gone
  bool unicode = true;  // for the sparklines
  bool has_keys = false;
  unsigned width = 100;  // columns
  unsigned height = 0;   // lines; 0: as many as there are
};

// The whole frame. `rows_below` gets how many rows of the lower half did not fit.
std::vector<TopLine> top_frame(const Target& target, const TopHistory& history, const TopView& view,
                               size_t* rows_below = nullptr);

// The last `width` values as a curve one line high, the largest value the full height.
std::string sparkline(const std::vector<uint64_t>& values, size_t width, bool unicode);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_TOP_FRAME_H_
