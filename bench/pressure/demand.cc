// A program whose demand for memory follows a curve, in real time: objects of mixed sizes are made, written and freed
// so that the bytes live are those of the curve; beside that it does some work, in every tick the same. Reports what it
// held, and what that cost: RSS over live bytes (integrals over time), peak, faults, CPU time, latencies of malloc.
//
// With --closed the time left in each tick is filled with work too: then the work done is the throughput.
//
// Operation: a unit of work (objects.h).
#include "objects.h"
#include "shape.h"

namespace {

constexpr double kTick = 0.005;
constexpr double kMega = 1e6;

// Follows the curve by whole objects, and looks at resident memory while it does.
class Follower {
 public:
  Follower(const bench::Shape& shape, bench::Objects& objects, bench::Recorder& recorder, double start)
      : shape_(shape), objects_(objects), recorder_(recorder), start_(start) {}

  double now() const { return bench::monotonic() - start_; }

  // Returns once live memory is what the curve wants, or nothing can be had: then the next tick tries again.
  void follow() {
    for (double time = now();; time = now()) {
      recorder_.sample(time, objects_.bytes());
      const auto target = static_cast<uint64_t>(shape_.at(time));
      if (objects_.bytes() < target) {
        for (int i = 0; i < kRound && objects_.bytes() < target; ++i) {
          if (!objects_.grow()) return;
        }
      } else if (objects_.bytes() > target + kSlack) {
        for (int i = 0; i < kRound && objects_.bytes() > target; ++i) objects_.shrink();
      } else {
        return;
      }
    }
  }

 private:
  static constexpr int kRound = 32;
  static constexpr uint64_t kSlack = 1 << 20;

  const bench::Shape& shape_;
  bench::Objects& objects_;
  bench::Recorder& recorder_;
  double start_;
};

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("demand", argc, argv);
  const bool smoke = workload.smoke();
  bench::ShapeRequest request;
  request.name = workload.text("shape", "square");
  request.low = workload.number("low", smoke ? 4 : 100) * kMega;
  request.high = workload.number("high", smoke ? 16 : 400) * kMega;
  request.length = workload.number("seconds", smoke ? 0.5 : 60);
  request.period = workload.number("period", smoke ? 0.2 : 20);
  request.phase = workload.number("phase", 0);
  request.late = workload.number("late", 0);
  request.speed = workload.number("speed", 1);
  request.seed = workload.seed();
  bench::ObjectSettings settings;
  settings.smallest = workload.count("smallest", settings.smallest);
  settings.largest = workload.count("largest", settings.largest);
  settings.large = workload.number("large", settings.large);
  settings.retained = workload.number("retained", settings.retained);
  settings.seed = workload.seed();
  const size_t units = workload.count("units", 4);
  const bool closed = workload.flag("closed");
  const char* budget_file = workload.text("budget-file", "");
  bench::Budget budget(budget_file, workload.number("budget", 0) * kMega);
  bench::Recorder recorder(workload.text("samples", ""), request.length);
  if (workload.flag("watch")) recorder.watch();
  const double start = workload.number("start", bench::monotonic());
  const bench::Shape shape(request);
  if (!shape.known() || request.length <= 0 || request.period <= 0 || request.speed <= 0) {
    std::fprintf(stderr, "demand: no such shape: %s\n", request.name.c_str());
    return 2;
  }

  bench::Objects objects(settings, budget);
  Follower follower(shape, objects, recorder, start);
  bench::sleep_until(start);
  const bench::Cost cost;
  workload.start();
  uint64_t done = 0;
  double work_seconds = 0;
  for (double tick = 0; tick < request.length; tick += kTick) {
    bench::sleep_until(start + tick);
    if (follower.now() > request.length) break;
    follower.follow();
    const double from = bench::thread_seconds();
    for (size_t i = 0; i < units; ++i) objects.work();
    done += units;
    while (closed && follower.now() < tick + kTick) {
      objects.work();
      ++done;
    }
    work_seconds += bench::thread_seconds() - from;
  }
  recorder.sample(follower.now(), objects.bytes(), true);
  workload.stop();
  cost.report(workload, recorder, objects.times(), done, work_seconds, follower.now());
  return workload.report(done);
}
