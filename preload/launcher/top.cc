#include "preload/launcher/top.h"

#include <curses.h>
#include <langinfo.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

#include "preload/launcher/control_client.h"
#include "preload/launcher/output_file.h"
#include "preload/launcher/status.h"
#include "preload/launcher/top_frame.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kAnswerSeconds = 5;

volatile sig_atomic_t asked_to_end = 0;

std::chrono::milliseconds delay_of(const TopRequest& request) {
  return std::chrono::milliseconds(static_cast<long>(request.seconds * 1000));
}

TopPane pane_of(const std::string& name) {
  unsigned pane = 0;
  while (pane + 1 < kTopPanes && name != kTopPaneNames[pane]) ++pane;
  return static_cast<TopPane>(pane);
}

// A variable of the environment; empty if it is not set.
std::string variable(const std::string& name) {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, (name + "=").c_str(), name.size() + 1) == 0) return *entry + name.size() + 1;
  }
  return {};
}

bool is_utf8() { return std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0; }

// A process that is watched.
struct Watched {
  Target target;
  TopHistory history;
  LiveSites sites;
  bool ended = false;

  // Looks once. A page that is just being written is left for the next time, unless `wait` says so; false if it could
  // not be read even then, with a line on stderr.
  bool look(bool wait = false) {
    const auto body = std::make_unique<PageBody>();
    if (wait ? !read_page(target, *body) : !page_read(*target.page, *body)) return false;
    ended = ended || !is_alive(target);
    history.add(*body, process_age(target.pid).seconds);
    return true;
  }

  // Names take time, so they are looked up only where they are shown.
  std::vector<TopLine> frame(TopView& view, size_t* rows_below = nullptr) {
    if (view.pane == TopPane::sites && !ended) view.sites = sites.of(target.pid, *history.now());
    return top_frame(target, history, view, rows_below);
  }
};

int print_frames(const TopRequest& request) {
  std::optional<Target> target = choose_target(request.pid);
  if (!target) return 1;
  Watched watched;
  watched.target = std::move(*target);
  TopView view;
  view.pane = pane_of(request.pane);
  view.unicode = is_utf8();
  const int columns = std::atoi(variable("COLUMNS").c_str());
  if (columns > 0) view.width = static_cast<unsigned>(columns);
  for (unsigned frame = 0; request.frames == 0 || frame < request.frames; ++frame) {
    if (frame != 0) std::this_thread::sleep_for(delay_of(request));
    if (!watched.look(true)) return 1;
    if (watched.ended) {
      std::fprintf(stderr, "poolmalloc: process %d (%s) has ended\n", watched.target.pid,
                   watched.target.program.c_str());
      return 1;
    }
    std::string text = frame == 0 ? "" : "\n";
    for (const TopLine& line : watched.frame(view)) text += line.text + "\n";
    if (print_output(text) != 0) return 1;
  }
  return 0;
}

// As much of a UTF-8 text as fits into `columns`, each character being one wide.
std::string cut(const std::string& text, size_t columns) {
  size_t end = 0;
  for (size_t seen = 0; end < text.size(); ++end) {
    const bool starts = (static_cast<unsigned char>(text[end]) & 0xc0) != 0x80;
    if (starts && seen++ == columns) break;
  }
  return text.substr(0, end);
}

class Screen {
 public:
  Screen() : screen_(newterm(nullptr, stdout, stdin)) {
    if (screen_ == nullptr) return;
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, TRUE);
    curs_set(0);
    set_escdelay(50);
    if (!has_colors()) return;
    start_color();
    use_default_colors();
    init_pair(1, COLOR_GREEN, -1);
    init_pair(2, COLOR_YELLOW, -1);
    init_pair(3, COLOR_RED, -1);
  }
  ~Screen() {
    if (screen_ == nullptr) return;
    endwin();
    delscreen(screen_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  bool works() const { return screen_ != nullptr; }
  static unsigned width() { return static_cast<unsigned>(std::max(COLS, 1)); }
  static unsigned height() { return static_cast<unsigned>(std::max(LINES, 1)); }

  static void draw(const std::vector<TopLine>& lines, const std::string& bottom) {
    erase();
    const int rows = static_cast<int>(height());
    for (int y = 0; y < rows - 1 && y < static_cast<int>(lines.size()); ++y) {
      put(y, lines[static_cast<size_t>(y)]);
    }
    put(rows - 1, {bottom, LineStyle::faint});
    refresh();
  }

  // A key, or ERR when the time is over.
  static int key_within(std::chrono::milliseconds time) {
    timeout(static_cast<int>(std::max<long>(0, static_cast<long>(time.count()))));
    return getch();
  }

 private:
  static attr_t attribute_of(LineStyle style) {
    switch (style) {
      case LineStyle::title:
      case LineStyle::selected: return A_REVERSE;
      case LineStyle::heading: return A_BOLD | A_UNDERLINE;
      case LineStyle::good: return static_cast<attr_t>(COLOR_PAIR(1)) | A_BOLD;
      case LineStyle::warning: return static_cast<attr_t>(COLOR_PAIR(2)) | A_BOLD;
      case LineStyle::alarm: return static_cast<attr_t>(COLOR_PAIR(3)) | A_BOLD;
      case LineStyle::faint: return A_DIM;
      case LineStyle::plain: break;
    }
    return A_NORMAL;
  }
  static void put(int y, const TopLine& line) {
    std::string text = cut(line.text, width());
    const bool filled = line.style == LineStyle::title || line.style == LineStyle::selected;
    if (filled && text.size() < width()) text.resize(width(), ' ');
    attrset(static_cast<int>(attribute_of(line.style)));
    mvaddstr(y, 0, text.c_str());
    attrset(A_NORMAL);
  }

  SCREEN* screen_;
};

const std::vector<TopLine>& help_lines() {
  static const std::vector<TopLine> kLines = {
      {"poolmalloc top: keys", LineStyle::title},
      {"", LineStyle::plain},
      {"  q            quit", LineStyle::plain},
      {"  p or space   pause: the numbers stand still", LineStyle::plain},
      {"  s            sort the size classes by live memory, rate, growth, cached memory, size", LineStyle::plain},
      {"  Tab          size classes, call sites, CPUs, memory nodes, events", LineStyle::plain},
      {"  P            start or end a heap profile in the process, which the call sites come from", LineStyle::plain},
      {"  up, down     move the lower half, or choose from the list; page keys, Home and End too", LineStyle::plain},
      {"  b or Esc     back to the list of processes;  Enter: watch the chosen one", LineStyle::plain},
      {"  h or ?       this help; any key ends it", LineStyle::plain},
      {"", LineStyle::plain},
      {"live     objects the program holds      dirty    free, and resident still", LineStyle::plain},
      {"cached   free objects at hand of CPUs   clean    free, and given back to the system", LineStyle::plain},
      {"RSS      the whole process              refaulted  given back, and in use again", LineStyle::plain},
  };
  return kLines;
}

// The view of one process, or of the list of all.
class Viewer {
 public:
  explicit Viewer(const TopRequest& request) : request_(request) {
    view_.pane = pane_of(request.pane);
    view_.unicode = is_utf8();
    view_.has_keys = true;
  }

  void watch(Target target) {
    watched_ = std::make_unique<Watched>();
    watched_->target = std::move(target);
    view_.scroll = 0;
    view_.paused = view_.ended = false;
  }

  void run() {
    Clock::time_point due = Clock::now();
    while (asked_to_end == 0 && !done_) {
      const Clock::time_point now = Clock::now();
      if (now >= due) {
        look();
        due = now + delay_of(request_);
      }
      draw();
      const int key = Screen::key_within(std::chrono::duration_cast<std::chrono::milliseconds>(due - Clock::now()));
      if (key != ERR && handle(key)) due = Clock::now();
    }
  }

 private:
  void look() {
    if (watched_ == nullptr) {
      const pid_t chosen = chosen_ < targets_.size() ? targets_[chosen_].pid : 0;
      targets_ = find_targets();
      const auto place =
          std::find_if(targets_.begin(), targets_.end(), [&](const Target& t) { return t.pid >= chosen; });
      chosen_ = static_cast<size_t>(place - targets_.begin());
      return;
    }
    if (view_.paused) return;
    watched_->look();
    view_.ended = watched_->ended;
  }

  void draw() {
    if (help_) return Screen::draw(help_lines(), "any key: back");
    if (watched_ == nullptr) return draw_list();
    view_.width = Screen::width();
    view_.height = Screen::height();
    if (watched_->history.now() == nullptr) return Screen::draw({}, "waiting for the process to write its statistics");
    size_t below = 0;
    const std::vector<TopLine> lines = watched_->frame(view_, &below);
    rows_below_ = below;
    const std::string more = below != 0 ? "  (" + std::to_string(below) + " more rows below)" : "";
    Screen::draw(lines,
                 message_.empty() ? "q quit  p pause  s sort  Tab rows  P profile  b list  h help" + more : message_);
  }

  void draw_list() {
    std::vector<TopLine> lines = {
        {"poolmalloc top  " + std::to_string(targets_.size()) + " processes on poolmalloc", LineStyle::title},
        {"", LineStyle::plain}};
    if (!targets_.empty()) chosen_ = std::min(chosen_, targets_.size() - 1);
    const size_t room = Screen::height() > 4 ? Screen::height() - 4 : 1;
    const size_t first = chosen_ >= room ? chosen_ - room + 1 : 0;
    for (size_t i = first; i < targets_.size() && i < first + room; ++i) {
      lines.push_back({process_line(targets_[i]), i == chosen_ ? LineStyle::selected : LineStyle::plain});
    }
    Screen::draw(lines, message_.empty() ? "arrows choose  Enter watch  q quit  h help" : message_);
  }

  // True if a new look is due at once.
  bool handle(int key) {
    if (std::exchange(help_, false)) return false;
    message_.clear();
    switch (key) {
      case 'q':
      case 'Q': done_ = true; return false;
      case 'h':
      case '?': help_ = true; return false;
      case KEY_RESIZE: return false;
      default: break;
    }
    return watched_ == nullptr ? handle_in_list(key) : handle_in_view(key);
  }

  bool handle_in_list(int key) {
    if (key == KEY_UP && chosen_ > 0) --chosen_;
    if (key == KEY_DOWN && chosen_ + 1 < targets_.size()) ++chosen_;
    if ((key != KEY_ENTER && key != '\r' && key != '\n') || chosen_ >= targets_.size()) return false;
    Target target = open_target(targets_[chosen_].pid);
    if (target.state != TargetState::published) {
      message_ = target.complaint;
      return false;
    }
    watch(std::move(target));
    return true;
  }

  void switch_profile() {
    const bool on = watched_->history.now() != nullptr && watched_->history.now()->snapshot.profile_period_bytes != 0;
    const ControlReply reply = ask(watched_->target.pid, on ? "prof stop" : "prof start", -1, kAnswerSeconds);
    message_ = reply.ok ? on ? "the heap profile has ended" : "a heap profile has begun; Tab: call sites" : reply.text;
  }

  bool handle_in_view(int key) {
    const size_t page = Screen::height() / 2;
    switch (key) {
      case 'p':
      case ' ': view_.paused = !view_.paused; return !view_.paused;
      case 's':
        view_.order = static_cast<ClassOrder>((static_cast<unsigned>(view_.order) + 1) % kClassOrders);
        view_.scroll = 0;
        return false;
      case '\t':
        view_.pane = static_cast<TopPane>((static_cast<unsigned>(view_.pane) + 1) % kTopPanes);
        view_.scroll = 0;
        return false;
      case 'P': switch_profile(); return true;
      case KEY_UP: view_.scroll -= std::min<size_t>(view_.scroll, 1); return false;
      case KEY_DOWN: view_.scroll += std::min<size_t>(rows_below_, 1); return false;
      case KEY_PPAGE: view_.scroll -= std::min(view_.scroll, page); return false;
      case KEY_NPAGE: view_.scroll += std::min(rows_below_, page); return false;
      case KEY_HOME: view_.scroll = 0; return false;
      case KEY_END: view_.scroll += rows_below_; return false;
      case 'b':
      case KEY_BACKSPACE:
      case 27: watched_.reset(); return true;
      default: return false;
    }
  }

  const TopRequest& request_;
  TopView view_;
  std::unique_ptr<Watched> watched_;  // null: the list
  std::vector<Target> targets_;
  std::string message_;
  size_t chosen_ = 0;
  size_t rows_below_ = 0;
  bool help_ = false;
  bool done_ = false;
};

int watch_in_terminal(const TopRequest& request) {
  Viewer viewer(request);
  std::vector<Target> targets;
  if (!request.pid) targets = find_targets();
  // Of several, one is chosen from the list.
  if (targets.size() < 2) {
    std::optional<Target> target = choose_target(request.pid);
    if (!target) return 1;
    viewer.watch(std::move(*target));
  }
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
    std::fprintf(stderr, "poolmalloc: top needs a terminal; for scripts there are --once and --batch\n");
    return 1;
  }
  // Before curses, which leaves handlers alone that are there.
  struct sigaction action = {};
  action.sa_handler = [](int) { asked_to_end = 1; };
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
  const Screen screen;
  if (!screen.works()) {
    const std::string name = variable("TERM");
    std::fprintf(stderr, "poolmalloc: the terminal %s is not known here; for scripts there are --once and --batch\n",
                 name.empty() ? "(TERM is not set)" : name.c_str());
    return 1;
  }
  viewer.run();
  return 0;
}

}  // namespace

int top(const TopRequest& request) {
  std::setlocale(LC_CTYPE, "");
  return request.batch ? print_frames(request) : watch_in_terminal(request);
}

}  // namespace pm
