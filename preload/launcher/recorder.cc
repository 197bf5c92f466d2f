#include "preload/launcher/recorder.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "preload/launcher/facts.h"
#include "preload/launcher/page_json.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

constexpr uint64_t kMillion = 1'000'000;
// Facts are read anew this often, since they are gone with the process: its mappings take long to read in large ones.
constexpr uint64_t kExamineEveryMs = 10'000;
constexpr uint64_t kLookEveryMs = 250;  // whether the process is still there, when samples are rare

volatile sig_atomic_t g_interrupted = 0;

class Interruptible {
 public:
  Interruptible() {
    g_interrupted = 0;
    struct sigaction action = {};
    action.sa_handler = [](int) { g_interrupted = 1; };
    action.sa_flags = SA_RESETHAND;
    for (size_t i = 0; i < std::size(kSignals); ++i) {
      sigaction(kSignals[i], nullptr, &before_[i]);
      // What a parent told us to ignore, as nohup does, stays ignored.
      if (before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
    }
  }
  ~Interruptible() {
    for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction before_[3];
};

uint64_t clock_ms(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / kMillion;
}

void sleep_ms(uint64_t ms) {
  const timespec time = {static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000 * kMillion)};
  nanosleep(&time, nullptr);
}

class Recorder {
 public:
  Recorder(const Target& target, const RecordRequest& request, Recording& recording)
      : target_(target), request_(request), recording_(recording), machine_(read_machine()) {
    recording_ = {};
    recording_.every_ms = request.every_ms;
  }

  bool run() {
    const Interruptible guard;
    const uint64_t begin = clock_ms(CLOCK_MONOTONIC);
    const uint64_t end = begin + request_.for_ms;
    describe();
    if (!read_page(target_, *body_)) return false;
    keep();
    examine();
    uint64_t due = begin;
    for (;;) {
      const uint64_t now = clock_ms(CLOCK_MONOTONIC);
      show_progress(now - begin);
      if (g_interrupted != 0) return finish("interrupted");
      // Before the time: a process that ended at the last moment still ended.
      if (!is_alive(target_)) return finish("process ended");
      if (now >= end) return finish("time");
      if (now >= examine_due_) examine();
      if (now >= due + recording_.every_ms) {
        // Looks that were missed are not made up for.
        due += (now - due) / recording_.every_ms * recording_.every_ms;
        look();
      }
      sleep_ms(
          std::min({due + recording_.every_ms - std::min(now, due + recording_.every_ms), end - now, kLookEveryMs}));
    }
  }

 private:
  void describe() {
    recording_.about = {{"pid", target_.pid},
                        {"program", printable(target_.program)},
                        {"version", printable(target_.version)},
                        {"library", printable(target_.library)},
                        {"mode", ""},
                        {"fit", ""},
                        {"started", process_age(target_.pid).started_unix_s},
                        {"options", nlohmann::ordered_json::object()}};
  }

  // A page that is being written for long, as in a process that was stopped in that moment, just says nothing this
  // time.
  void look() {
    const auto body = std::make_unique<PageBody>();
    if (!page_read(*target_.page, *body)) return;
    *body_ = *body;
    keep();
  }

  // An idle process writes its page seldom; what stands there is true until it writes again. So the time is that of the
  // look.
  void keep() {
    const Sample sample = {clock_ms(CLOCK_REALTIME), body_->snapshot};
    recording_.about["mode"] = sample.snapshot.mode;
    recording_.about["fit"] = sample.snapshot.fit;
    recording_.about["options"] = options_json(*body_);
    // A clock that was set back meanwhile would have the line run backwards.
    if (recording_.samples.empty() || sample.time_ms > recording_.samples.back().time_ms) {
      if (add_sample(recording_, sample)) recording_.every_ms *= 2;
    }
    add_events();
  }

  void add_events() {
    const PageStamp& stamp = body_->stamp;
    const bool all_are_new = stamp.events == kMaxEvents && body_->events[0].time_ns > newest_event_ns_;
    if (all_are_new && newest_event_ns_ != 0) recording_.events_missed = true;
    uint64_t newest = newest_event_ns_;
    for (uint32_t i = 0; i < stamp.events; ++i) {
      const Event& event = body_->events[i];
      if (event.time_ns <= newest_event_ns_) continue;
      recording_.events.push_back(event_json(stamp, event));
      newest = std::max(newest, event.time_ns);
    }
    newest_event_ns_ = newest;
    if (recording_.events.size() > kMostEvents) {
      recording_.events.erase(recording_.events.begin(), recording_.events.end() - static_cast<long>(kMostEvents / 2));
    }
  }

  void examine() {
    const ProcessFacts facts = read_process(target_.pid, body_->stamp.heap_begin, body_->stamp.heap_end);
    examine_due_ = clock_ms(CLOCK_MONOTONIC) + kExamineEveryMs;
    // The last reading of a process that is going away would say that everything is missing.
    if (!is_alive(target_)) return;
    Examination& e = recording_.examination;
    e.findings = examine_machine(machine_);
    for (Finding& finding : examine_process(facts, machine_, body_.get())) e.findings.push_back(std::move(finding));
    e.advices = recommend(*body_);
    e.shares = split_resident(facts, *body_);
    e.resident_bytes = body_->snapshot.resident_bytes;
  }

  bool finish(const char* why) {
    if (shows_progress_) std::fputs("\r\033[K", stderr);
    // The process may have written once more since the last look; its page outlives it here.
    look();
    if (is_alive(target_)) examine();
    recording_.end = why;
    return true;
  }

  void show_progress(uint64_t passed_ms) const {
    if (!shows_progress_) return;
    std::fprintf(stderr, "\rrecording %s (%d): %s of %s, %zu samples; Ctrl-C ends it early\033[K",
                 printable(target_.program).c_str(), target_.pid, duration_text(passed_ms / 1000).c_str(),
                 duration_text(request_.for_ms / 1000).c_str(), recording_.samples.size());
  }

  const Target& target_;
  const RecordRequest& request_;
  Recording& recording_;
  const MachineFacts machine_;
  const bool shows_progress_ = isatty(STDERR_FILENO) == 1;
  std::unique_ptr<PageBody> body_ = std::make_unique<PageBody>();
  uint64_t newest_event_ns_ = 0;
  uint64_t examine_due_ = 0;
};

}  // namespace

bool record(const Target& target, const RecordRequest& request, Recording& recording) {
  return Recorder(target, request, recording).run();
}

}  // namespace pm
