// How soon pressure is told and memory is back, in one process:
//
//   levels      memory that is not the heap's grows at `rate` towards the limit of the process's group. For each level:
//               from the moment usage was there, how long until its event descriptor was readable, and how long after
//               the end of the first look that began behind that moment.
//   emergency   with `heap` bytes of free memory in the heap, a jump takes usage over the last level; how much of what
//               could be given back is back after a second.
//   idle        `heap` bytes come free, and the program sleeps: how long until it is within a tenth of what is live.
//
// The program's arguments say which of them; scripts for all three: bench/pressure/reaction.py. Operation: one of them.
#include <poll.h>
#include <pthread.h>

#include <string>

#include "record.h"

namespace {

constexpr double kMega = 1e6;
constexpr int kLevels = 4;  // moderate to emergency
constexpr double kShares[kLevels] = {0.70, 0.80, 0.90, 0.95};

struct Library {
  decltype(pm_metric_get)* metric = bench::offered<decltype(pm_metric_get)>("pm_metric_get");
  decltype(pm_pressure_eventfd)* eventfd = bench::offered<decltype(pm_pressure_eventfd)>("pm_pressure_eventfd");

  double value(const char* name) const {
    unsigned long long now = 0;
    bench::check(metric(name, &now) == 0, name);
    return static_cast<double>(now);
  }
} library;

double number_in(int file) {
  char text[64];
  const ssize_t length = pread(file, text, sizeof text - 1, 0);
  bench::check(length > 0, "reading a number");
  text[length] = '\0';
  return std::strtod(text, nullptr);
}

// Objects of many sizes, written to.
class Heap {
 public:
  void grow(double bytes) {
    bench::Random random(1);
    for (double done = 0; done < bytes;) {
      const size_t size = random.log_between(64, 256 << 10);
      auto* object = static_cast<char*>(std::malloc(size));
      bench::check(object != nullptr, "malloc");
      std::memset(object, 1, size);
      *reinterpret_cast<char**>(object) = last_;
      last_ = object;
      done += static_cast<double>(size);
    }
  }

  void drop() {
    while (last_ != nullptr) {
      char* const next = *reinterpret_cast<char**>(last_);
      std::free(last_);
      last_ = next;
    }
  }

 private:
  char* last_ = nullptr;
};

double resident(int statm) {
  char text[128];
  const ssize_t length = pread(statm, text, sizeof text - 1, 0);
  bench::check(length > 0, "reading statm");
  text[length] = '\0';
  return static_cast<double>(std::strtoul(std::strchr(text, ' '), nullptr, 10)) * 4096;
}

char* reserve(double bytes) {
  void* place = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  bench::check(place != MAP_FAILED, "mapping memory");
  return static_cast<char*>(place);
}

void touch(char* from, double bytes) {
  for (size_t at = 0; at < static_cast<size_t>(bytes); at += 4096) from[at] = 1;
}

// Waits for the events on a thread of its own, so that nobody is late because somebody else was.
struct Listener {
  pollfd entries[kLevels];
  std::atomic<double> told[kLevels] = {};

  static void* run(void* argument) {
    auto& self = *static_cast<Listener*>(argument);
    for (int left = kLevels; left > 0;) {
      bench::check(poll(self.entries, kLevels, -1) > 0, "poll");
      const double now = bench::monotonic();
      for (int i = 0; i < kLevels; ++i) {
        if (self.entries[i].fd < 0 || (self.entries[i].revents & POLLIN) == 0) continue;
        self.told[i] = now;
        self.entries[i].fd = -1;
        --left;
      }
    }
    return nullptr;
  }
};

void levels(bench::Workload& workload, double limit, double rate, int usage) {
  Heap heap;
  heap.grow(limit / 5);
  while (library.value("worker_rounds") < 3) usleep(10'000);
  Listener listener;
  for (int i = 0; i < kLevels; ++i) listener.entries[i] = {library.eventfd(static_cast<pm_pressure>(i + 1)), POLLIN, 0};
  pthread_t thread;
  bench::check(pthread_create(&thread, nullptr, Listener::run, &listener) == 0, "pthread_create");
  char* const memory = reserve(limit);
  double crossed[kLevels] = {};
  double looked[kLevels] = {};
  double rounds[kLevels] = {};
  double taken = 0;
  const double start = bench::monotonic();
  double end = 0;
  for (double now = start; end == 0 || now < end; now = bench::monotonic()) {
    const double wanted = (now - start) * rate;
    const double used = number_in(usage);
    if (taken < wanted && used < limit * 0.97) {
      touch(memory + static_cast<size_t>(taken), 256 << 10);
      taken += 256 << 10;
    }
    const double round = library.value("worker_rounds");
    for (int i = 0; i < kLevels; ++i) {
      if (crossed[i] == 0 && used >= limit * kShares[i]) crossed[i] = now, rounds[i] = round;
      // One look may have begun before: the second that ends has seen it for certain, and the first one may.
      if (crossed[i] != 0 && looked[i] == 0 && round > rounds[i]) looked[i] = now;
    }
    if (crossed[kLevels - 1] != 0 && end == 0) end = now + 2;
    usleep(500);
  }
  double worst = -1e9;
  double after_look = -1e9;
  for (int i = 0; i < kLevels; ++i) {
    const double told = listener.told[i];
    bench::check(told != 0, "being told of a level");
    worst = std::max(worst, told - crossed[i]);
    after_look = std::max(after_look, told - looked[i]);
    const std::string name = "level_" + std::to_string(i + 1) + "_ms";
    workload.field(name.c_str(), (told - crossed[i]) * 1e3);
  }
  workload.field("told_ms", worst * 1e3);
  workload.field("after_look_ms", after_look * 1e3);
}

void emergency(bench::Workload& workload, double limit, double bytes, int usage, int statm) {
  Heap live;
  live.grow(limit / 8);
  Heap garbage;
  garbage.grow(bytes);
  char* const memory = reserve(limit);
  garbage.drop();
  while (library.value("worker_rounds") < 3) usleep(10'000);
  usleep(600'000);
  // To just below the first level, then over the last one.
  double taken = 0;
  while (number_in(usage) < limit * 0.66) touch(memory + static_cast<size_t>(taken), kMega), taken += kMega;
  usleep(600'000);
  const double reclaimable = library.value("dirty_bytes");
  const double before = resident(statm);
  const double jump_from = taken;
  while (number_in(usage) < limit * 0.97) touch(memory + static_cast<size_t>(taken), kMega / 4), taken += kMega / 4;
  const double start = bench::monotonic();
  const double jump = taken - jump_from;
  double first = 0;
  while (bench::monotonic() - start < 1) {
    if (first == 0 && before + jump - resident(statm) >= 0.8 * reclaimable) first = bench::monotonic() - start;
    usleep(1000);
  }
  workload.field("reclaimable_mb", reclaimable / kMega);
  workload.field("back_percent", 100 * (before + jump - resident(statm)) / reclaimable);
  workload.field("back_80_ms", first == 0 ? -1 : first * 1e3);
}

void idle(bench::Workload& workload, double live_bytes, double bytes, double longest, int statm) {
  Heap live;
  live.grow(live_bytes);
  const double base = resident(statm);
  Heap garbage;
  garbage.grow(bytes);
  const double full = resident(statm);
  garbage.drop();
  const double start = bench::monotonic();
  double passed = 0;
  while (resident(statm) > base * 1.1 && passed < longest) {
    usleep(20'000);
    passed = bench::monotonic() - start;
  }
  workload.field("full_mb", full / kMega);
  workload.field("base_mb", base / kMega);
  workload.field("end_mb", resident(statm) / kMega);
  workload.field("idle_seconds", resident(statm) <= base * 1.1 ? passed : -1);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("reaction", argc, argv);
  const std::string what = workload.text("what", "idle");
  const double limit = workload.number("limit", 400) * kMega;
  const double bytes = workload.number("heap", workload.smoke() ? 20 : 1074) * kMega;
  const double live = workload.number("live", workload.smoke() ? 10 : 128) * kMega;
  const double rate = workload.number("rate", 100) * kMega;
  const double longest = workload.number("longest", workload.smoke() ? 0.1 : 60);
  const std::string usage_path = workload.text("usage", "");
  const int statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  const int usage = usage_path.empty() ? -1 : open(usage_path.c_str(), O_RDONLY | O_CLOEXEC);
  bench::check(statm >= 0, "opening statm");
  workload.start();
  if (what == "idle") {
    idle(workload, live, bytes, longest, statm);
  } else {
    bench::check(library.metric != nullptr && library.eventfd != nullptr, "finding poolmalloc: preload it");
    bench::check(usage >= 0, "opening the usage of the group: --usage");
    if (what == "levels") {
      levels(workload, limit, rate, usage);
    } else {
      emergency(workload, limit, bytes, usage, statm);
    }
  }
  workload.stop();
  return workload.report(1);
}
