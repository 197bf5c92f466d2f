#include "preload/launcher/top_frame.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <utility>

#include "preload/launcher/simulation.h"
#include "preload/launcher/status.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

constexpr size_t kTitleWidth = 12;

uint64_t since(uint64_t now, uint64_t before) { return now > before ? now - before : 0; }

std::string left(const std::string& text, size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}
std::string right(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

// 12.3 k, 4.56 M: a rate.
std::string rate_text(double per_second) {
  constexpr const char* kUnits[] = {"", " k", " M", " G"};
  unsigned unit = 0;
  while (per_second >= 9999.5 && unit + 1 < std::size(kUnits)) {
    per_second /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 || per_second >= 99.95 ? "%.0f%s/s" : "%.1f%s/s", per_second,
                kUnits[unit]);
  return text;
}

std::string bytes_rate_text(double per_second) {
  return bytes_text(static_cast<uint64_t>(per_second < 0 ? 0 : per_second)) + "/s";
}

// [######....]
std::string bar(uint64_t part, uint64_t whole, size_t width) {
  const uint64_t filled = whole == 0 ? 0 : std::min<uint64_t>(width, (part * width + whole / 2) / whole);
  return "[" + std::string(filled, '#') + std::string(width - filled, '.') + "]";
}

uint64_t max_map_count() {
  std::ifstream file("/proc/sys/vm/max_map_count");
  uint64_t count = 0;
  return file >> count ? count : 65530;
}

uint64_t monotonic_now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(now.tv_nsec);
}

LineStyle style_of_level(uint64_t level) {
  if (level == 0) return LineStyle::good;
  return level <= 2 ? LineStyle::warning : LineStyle::alarm;
}

class Frame {
 public:
  Frame(const Target& target, const TopHistory& history, const TopView& view)
      : target_(target), history_(history), view_(view), now_(*history.now()), s_(now_.snapshot) {}

  std::vector<TopLine> head() {
    title();
    pressure();
    memory();
    huge_pages();
    forecast();
    rates();
    return std::move(lines_);
  }

 private:
  void add(std::string text, LineStyle style = LineStyle::plain) { lines_.push_back({std::move(text), style}); }
  void row(const char* name, const std::string& text, LineStyle style = LineStyle::plain) {
    add(left(name, kTitleWidth) + text, style);
  }

  void title() {
    const ProcessAge age = process_age(target_.pid);
    const uint64_t old = since(monotonic_now(), now_.stamp.written_ns) / 1'000'000'000U;
    std::string text = "poolmalloc top  " + printable(target_.program) + " (pid " + std::to_string(target_.pid) + ")  ";
    text += view_.ended ? "HAS ENDED" : "up " + duration_text(age.seconds);
    text += "  " + target_.version + " " + s_.mode;
    if (view_.paused) text += "  PAUSED";
    if (old >= 3 && !view_.ended) text += "  idle, seen " + duration_text(old) + " ago";
    add(text, LineStyle::title);
  }

  void pressure() {
    std::string text = left(level_name(s_.pressure_level), 11);
    if (s_.limit_bytes == 0) {
      text += "no memory limit";
    } else {
      text += "limit " + bytes_text(s_.limit_bytes) + " " + bar(s_.usage_bytes, s_.limit_bytes, 20) + " " +
              percent_text(s_.usage_bytes, s_.limit_bytes) + ", " + bytes_text(s_.headroom_bytes) + " left";
    }
    row("pressure", text, style_of_level(s_.pressure_level));
    row("mappings", grouped_text(s_.mappings) + " of " + grouped_text(max_map_count()) +
                        (s_.mapping_refusals != 0 ? ", " + grouped_text(s_.mapping_refusals) + " splits refused" : ""));
  }

  template <typename Value>
  void curve(const char* name, uint64_t now, const std::string& more, Value value) {
    std::vector<uint64_t> values;
    for (const TopHistory::Point& point : history_.points()) values.push_back(value(point));
    const size_t width = view_.width > 78 ? std::min<size_t>(view_.width - 78 + 20, 60) : 20;
    const std::string text = right(bytes_text(now), 10) + "  " + left(more, 44);
    row(name, text + (values.size() > 1 ? sparkline(values, width, view_.unicode) : ""));
  }

  void memory() {
    curve("live", s_.live_bytes, "in " + grouped_text(s_.live_objects) + " objects",
          [](const TopHistory::Point& p) { return p.live; });
    curve("RSS", s_.resident_bytes,
          "heap " + bytes_text(s_.heap_resident_bytes) + ", records " + bytes_text(s_.metadata_bytes),
          [](const TopHistory::Point& p) { return p.resident; });
    curve("dirty", s_.dirty_bytes, "free and resident; clean " + bytes_text(s_.clean_bytes),
          [](const TopHistory::Point& p) { return p.dirty; });
    const uint64_t cached = s_.magazine_bytes + s_.depot_bytes;
    curve("cached", cached, "magazines " + bytes_text(s_.magazine_bytes) + ", depot " + bytes_text(s_.depot_bytes),
          [](const TopHistory::Point& p) { return p.cached; });
    row("slabs", right(bytes_text(s_.slab_bytes), 10) + "  free slots " + bytes_text(s_.slab_free_bytes) + ", tails " +
                     bytes_text(s_.slab_tail_bytes));
  }

  void huge_pages() {
    row("huge pages", right(percent_text(s_.huge_bytes, s_.huge_eligible_bytes), 10) + "  of " +
                          bytes_text(s_.huge_eligible_bytes) + " in use, " + bytes_text(s_.huge_waste_bytes) +
                          " of them wasted" +
                          (s_.hugetlb_bytes != 0 ? ", hugetlbfs " + bytes_text(s_.hugetlb_bytes) : ""));
  }

  void forecast() {
    if (s_.forecasts_judged == 0) {
      row("forecast", "nothing to go by yet", LineStyle::faint);
      return;
    }
    std::string text = "in 60 s " + bytes_text(s_.forecast_bytes) + " (" + bytes_text(s_.forecast_low_bytes) + " to " +
                       bytes_text(s_.forecast_high_bytes) + "), " + trend_name(s_.forecast_trend) + ", error " +
                       percent_text(s_.forecast_error, 1000);
    const bool near = s_.seconds_to_limit != UINT32_MAX;
    if (near) text += "; LIMIT in " + duration_text(s_.seconds_to_limit);
    row("forecast", text, near ? LineStyle::alarm : LineStyle::plain);
    if (s_.leak_score >= 500) {
      const std::string size =
          s_.leak_size == 0 ? "large objects" : "objects of " + grouped_text(s_.leak_size) + " bytes";
      row("leak?",
          size + " grew by " + bytes_text(s_.leak_growth_bytes) + ", score " + percent_text(s_.leak_score, 1000),
          LineStyle::warning);
    }
  }

  double per_second(uint64_t Snapshot::*counter) const {
    const PageBody* const before = history_.before();
    const uint64_t change = before != nullptr ? since(s_.*counter, before->snapshot.*counter) : s_.*counter;
    const double seconds = history_.seconds();
    return seconds > 0 ? static_cast<double>(change) / seconds : 0;
  }

  void rates() {
    const double hits = per_second(&Snapshot::magazine_hits);
    const double misses = per_second(&Snapshot::magazine_misses);
    const auto permille = static_cast<uint64_t>(hits + misses > 0 ? 1000 * misses / (hits + misses) : 0);
    char missed[32];
    std::snprintf(missed, sizeof missed, "%u.%u %% missed", static_cast<unsigned>(permille / 10),
                  static_cast<unsigned>(permille % 10));
    row("rates", "malloc " + rate_text(per_second(&Snapshot::allocations)) + ", free " +
                     rate_text(per_second(&Snapshot::frees)) + ", " + missed + ", large " +
                     rate_text(per_second(&Snapshot::large_allocations)) + ", given back " +
                     bytes_rate_text(per_second(&Snapshot::decommitted_bytes)) + ", refaulted " +
                     bytes_rate_text(per_second(&Snapshot::refaulted_bytes)) +
                     (history_.before() == nullptr ? "  (since it began)" : ""));
    std::string text = "given back " + bytes_text(released_bytes(s_)) + " in all, emergencies " +
                       grouped_text(s_.emergencies) + ", worker " + grouped_text(s_.worker_rounds) + " rounds, " +
                       std::to_string(s_.worker_cpu_ns / 1'000'000) + " ms";
    if (s_.misuses != 0) text += ", MISUSES " + grouped_text(s_.misuses);
    row("so far", text);
  }

  const Target& target_;
  const TopHistory& history_;
  const TopView& view_;
  const PageBody& now_;
  const Snapshot& s_;
  std::vector<TopLine> lines_;
};

struct Pane {
  std::string title;
  std::string heading;
  std::vector<std::string> rows;
};

struct ClassLine {
  const Snapshot::ClassRow* row;
  uint64_t live, cached;
  double rate;
  int64_t growth;
};

constexpr const char* kOrderNames[kClassOrders] = {"live memory", "rate", "growth", "cached memory", "size"};

Pane class_pane(const TopHistory& history, ClassOrder order) {
  const Snapshot& s = history.now()->snapshot;
  const Snapshot* const before = history.before() != nullptr ? &history.before()->snapshot : nullptr;
  const double seconds = history.seconds();
  std::vector<ClassLine> lines;
  for (uint32_t i = 0; i < s.class_count; ++i) {
    const Snapshot::ClassRow& row = s.classes[i];
    if (row.hits + row.misses == 0 && row.slabs == 0) continue;
    const bool comparable = before != nullptr && i < before->class_count && before->classes[i].size == row.size;
    const uint64_t done = row.hits + row.misses;
    const uint64_t done_before = comparable ? before->classes[i].hits + before->classes[i].misses : 0;
    const uint64_t live = row.live_objects * row.size;
    const uint64_t live_before = comparable ? before->classes[i].live_objects * row.size : live;
    lines.push_back({&row, live, (row.magazine_objects + row.depot_objects) * row.size,
                     seconds > 0 ? static_cast<double>(since(done, done_before)) / seconds : 0,
                     static_cast<int64_t>(live) - static_cast<int64_t>(live_before)});
  }
  std::stable_sort(lines.begin(), lines.end(), [order](const ClassLine& a, const ClassLine& b) {
    switch (order) {
      case ClassOrder::live: return a.live > b.live;
      case ClassOrder::rate: return a.rate > b.rate;
      case ClassOrder::growth: return a.growth > b.growth;
      case ClassOrder::cached: return a.cached > b.cached;
      case ClassOrder::size: return a.row->size > b.row->size;
    }
    return false;
  });
  Pane pane;
  pane.title = std::string("Size classes by ") + kOrderNames[static_cast<unsigned>(order)];
  pane.heading = right("size", 8) + right("objects", 13) + right("live", 11) + right("cached", 11) + right("slabs", 8) +
                 right("full", 7) + right("malloc+free", 13) + right("missed", 8) + right("growth", 12);
  for (const ClassLine& line : lines) {
    const Snapshot::ClassRow& row = *line.row;
    const std::string growth = (line.growth < 0   ? "-"
                                : line.growth > 0 ? "+"
                                                  : "") +
                               bytes_text(static_cast<uint64_t>(line.growth < 0 ? -line.growth : line.growth));
    pane.rows.push_back(right(grouped_text(row.size), 8) + right(grouped_text(row.live_objects), 13) +
                        right(bytes_text(line.live), 11) + right(bytes_text(line.cached), 11) +
                        right(grouped_text(row.slabs), 8) +
                        right(percent_text(std::min(row.live_objects, row.slot_capacity), row.slot_capacity), 7) +
                        right(rate_text(line.rate), 13) + right(percent_text(row.misses, row.hits + row.misses), 8) +
                        right(growth, 12));
  }
  return pane;
}

// "parse <- read <- main", the outer ones left out where there are many.
std::string stack_text(const std::vector<std::string>& functions) {
  constexpr size_t kShown = 6;
  std::string text;
  for (size_t i = 0; i < functions.size() && i < kShown; ++i) text += (i == 0 ? "" : " <- ") + printable(functions[i]);
  if (functions.empty()) return "[unknown]";
  return functions.size() > kShown ? text + " <- ..." : text;
}

Pane site_pane(const Target& target, const Snapshot& s, const TopView& view) {
  Pane pane;
  pane.title = "Call sites by memory in use";
  if (s.profile_period_bytes == 0) {
    pane.rows.push_back("No heap profile is being taken. " +
                        std::string(view.has_keys ? "P starts one; or: " : "Start one: ") + "poolmalloc prof start " +
                        std::to_string(target.pid));
    return pane;
  }
  pane.title += ", one sample in " + bytes_text(s.profile_period_bytes) + ", " + grouped_text(s.profile_samples) +
                " so far" + (view.has_keys ? "; P ends that" : "");
  pane.heading = right("in use", 10) + right("error", 11) + right("of live", 9) + right("objects", 12) +
                 right("size", 11) + "  allocated by";
  for (const LiveSite& site : view.sites) {
    pane.rows.push_back(right(bytes_text(site.bytes), 10) + right(bytes_text(static_cast<uint64_t>(site.error)), 11) +
                        right(percent_text(site.bytes, s.live_bytes), 9) + right(grouped_text(site.objects), 12) +
                        right(grouped_text(site.size), 11) + "  " + stack_text(site.functions));
  }
  if (pane.rows.empty()) pane.rows.emplace_back("    nothing that is in use was sampled yet");
  return pane;
}

Pane cpu_pane(const PageBody& body) {
  Pane pane;
  pane.title = "Magazines of the CPUs";
  pane.heading = right("cpu", 8) + right("objects", 13) + right("bytes", 11) + right("capacity", 11) +
                 right("hits", 17) + right("misses", 15) + right("missed", 8);
  for (uint32_t i = 0; i < body.stamp.cpu_rows; ++i) {
    const CpuRow& row = body.cpus[i];
    const std::string name = (row.locked != 0 ? "locked " : "") + std::to_string(row.cpu);
    pane.rows.push_back(right(name, 8) + right(grouped_text(row.objects), 13) + right(bytes_text(row.bytes), 11) +
                        right(bytes_text(row.capacity_bytes), 11) + right(grouped_text(row.hits), 17) +
                        right(grouped_text(row.misses), 15) +
                        right(percent_text(row.misses, row.hits + row.misses), 8));
  }
  if (body.stamp.cpu_rows_left_out != 0) {
    pane.rows.push_back("  and " + std::to_string(body.stamp.cpu_rows_left_out) + " more");
  }
  return pane;
}

Pane node_pane(const PageBody& body) {
  Pane pane;
  pane.title = "Memory nodes (NUMA)";
  pane.heading = right("node", 8) + right("mapped", 12) + right("slabs", 12) + right("large", 12) + right("dirty", 12) +
                 right("clean", 12);
  for (uint32_t i = 0; i < body.stamp.node_rows; ++i) {
    const NodeRow& row = body.nodes[i];
    pane.rows.push_back(right(std::to_string(row.kernel_node), 8) + right(bytes_text(row.mapped_bytes), 12) +
                        right(bytes_text(row.slab_bytes), 12) + right(bytes_text(row.large_bytes), 12) +
                        right(bytes_text(row.dirty_bytes), 12) + right(bytes_text(row.clean_bytes), 12));
  }
  return pane;
}

std::string event_text(const Event& event) {
  const auto reason = [&] {
    return event.reason < kReasons ? std::string(name_of(static_cast<Reason>(event.reason))) : std::string("unknown");
  };
  const std::string bytes = bytes_text(event.bytes);
  switch (event.kind) {
    case EventKind::decommit: return "decommit   " + bytes + ", reason: " + reason();
    case EventKind::drain: return "drain      " + bytes + " of caches, reason: " + reason();
    case EventKind::prefault: return "prefault   " + bytes + " ahead of demand";
    case EventKind::collapse: return "collapse   " + bytes + " onto huge pages";
    case EventKind::level: return std::string("level      ") + level_name(event.from) + " -> " + level_name(event.to);
    case EventKind::trim: return "trim       " + bytes + ", the program asked";
    case EventKind::emergency: return "EMERGENCY  an allocation of " + bytes + " met the limit";
    case EventKind::refusal: return "REFUSED    an allocation of " + bytes + ", by limit_hard";
    case EventKind::fork: return "fork       this process began with " + bytes + " of its parent's heap";
    case EventKind::worker: return "worker     began to watch, heap " + bytes;
    case EventKind::none: break;
  }
  return "unknown";
}

Pane event_pane(const PageBody& body) {
  Pane pane;
  pane.title = "Events, the newest first";
  pane.heading = right("ago", 13) + "  what";
  for (uint32_t i = body.stamp.events; i-- > 0;) {
    const Event& event = body.events[i];
    const uint64_t ago = since(monotonic_now(), event.time_ns) / 1'000'000'000U;
    pane.rows.push_back(right(duration_text(ago), 13) + "  " + event_text(event));
  }
  if (pane.rows.empty()) pane.rows.emplace_back("               none yet");
  return pane;
}

Pane make_pane(const Target& target, const TopHistory& history, const TopView& view) {
  switch (view.pane) {
    case TopPane::classes: return class_pane(history, view.order);
    case TopPane::sites: return site_pane(target, history.now()->snapshot, view);
    case TopPane::cpus: return cpu_pane(*history.now());
    case TopPane::nodes: return node_pane(*history.now());
    case TopPane::events: return event_pane(*history.now());
  }
  return {};
}

}  // namespace

void TopHistory::add(const PageBody& body, uint64_t age_seconds) {
  age_seconds_ = age_seconds;
  const bool is_new = bodies_ == 0 || body.stamp.writes != now_->stamp.writes;
  if (is_new) {
    std::swap(now_, before_);
    *now_ = body;
    if (bodies_ < 2) ++bodies_;
  }
  const Snapshot& s = now_->snapshot;
  points_.push_back({s.live_bytes, s.resident_bytes, s.dirty_bytes, s.magazine_bytes + s.depot_bytes, s.allocations});
  if (points_.size() > kPoints) points_.pop_front();
}

double TopHistory::seconds() const {
  const uint64_t now = now_->stamp.written_ns;
  if (bodies_ < 2) return static_cast<double>(age_seconds_);
  return static_cast<double>(since(now, before_->stamp.written_ns)) / 1e9;
}

std::string sparkline(const std::vector<uint64_t>& values, size_t width, bool unicode) {
  constexpr const char* kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr const char* kPlain[] = {"_", ".", "-", "=", "+", "*", "%", "#"};
  constexpr size_t kHeights = std::size(kBlocks);
  const size_t count = std::min(width, values.size());
  const auto first = values.end() - static_cast<std::ptrdiff_t>(count);
  uint64_t highest = 0;
  for (auto at = first; at != values.end(); ++at) highest = std::max(highest, *at);
  std::string line;
  for (auto at = first; at != values.end(); ++at) {
    const double share = highest == 0 ? 0 : static_cast<double>(*at) / static_cast<double>(highest);
    const auto height = std::min(kHeights - 1, static_cast<size_t>(share * kHeights));
    line += unicode ? kBlocks[height] : kPlain[height];
  }
  return line;
}

std::vector<TopLine> top_frame(const Target& target, const TopHistory& history, const TopView& view,
                               size_t* rows_below) {
  std::vector<TopLine> lines = Frame(target, history, view).head();
  const Pane pane = make_pane(target, history, view);
  lines.push_back({"", LineStyle::plain});
  lines.push_back({pane.title, LineStyle::good});
  lines.push_back({pane.heading, LineStyle::heading});
  const size_t room = view.height == 0                 ? pane.rows.size()
                      : view.height > lines.size() + 1 ? view.height - lines.size() - 1
                                                       : 0;
  const size_t first = std::min(view.scroll, pane.rows.size());
  const size_t end = std::min(first + room, pane.rows.size());
  for (size_t i = first; i < end; ++i) lines.push_back({pane.rows[i], LineStyle::plain});
  if (rows_below != nullptr) *rows_below = pane.rows.size() - end;
  return lines;
}

}  // namespace pm
