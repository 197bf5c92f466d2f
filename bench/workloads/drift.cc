// A server's hour in seconds: a live heap that follows the load of the day, made of requests that end soon, sessions
// that last, and caches that stay; the sizes drift from period to period, so memory shaped for one period must serve
// the next. Reports the resident memory after the last period beside the live bytes. `--scale 40` takes about a minute.
//
// Operation: one malloc with its free.
#include <utility>
#include <vector>

#include "harness.h"

namespace {

struct Object {
  void* memory;
  size_t size;
};

class Pool {
 public:
  void add(bench::Random& random, size_t centre) {
    const size_t size = random.log_between(16, centre);
    objects_.push_back({bench::take_and_write(size, size), size});
    live_ += size;
  }

  void remove_any(bench::Random& random) {
    std::swap(objects_[random.below(objects_.size())], objects_.back());
    live_ -= objects_.back().size;
    bench::give(objects_.back().memory);
    objects_.pop_back();
  }

  void clear(bench::Random& random) {
    while (!objects_.empty()) remove_any(random);
  }

  size_t count() const { return objects_.size(); }
  size_t live() const { return live_; }

 private:
  std::vector<Object> objects_;
  size_t live_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("drift", argc, argv);
  const size_t objects = workload.count("objects", workload.smoke() ? 2'000 : 100'000);
  const size_t periods = workload.count("periods", 48);
  const size_t requests = workload.scaled(3'000'000, 10'000) / periods + 1;

  bench::Random random(workload.seed());
  Pool sessions;
  Pool caches;
  size_t operations = 0;
  workload.start();
  for (size_t period = 0; period < periods; ++period) {
    // Load rises and falls six times; the typical size wanders between 64 and 2048 bytes.
    const size_t tide = period % 8 < 4 ? period % 8 : 8 - period % 8;
    const size_t wanted = objects / 4 * (1 + tide) / 5 * 4;
    const size_t centre = size_t{64} << (period / 3 % 6);
    for (size_t request = 0; request < requests; ++request) {
      Pool scratch;
      const size_t parts = random.between(1, 12);
      for (size_t i = 0; i < parts; ++i) scratch.add(random, centre);
      sessions.add(random, centre);
      while (sessions.count() > wanted) sessions.remove_any(random);
      if (random.one_in(16)) {
        caches.add(random, centre * 4);
        if (caches.count() > objects / 8) caches.remove_any(random);
      }
      scratch.clear(random);
      operations += parts + 1;
    }
  }
  workload.stop();
  workload.field("live_kib", static_cast<double>(sessions.live() + caches.live()) / 1024);
  workload.field("rss_kib", bench::resident_kib());
  sessions.clear(random);
  caches.clear(random);
  return workload.report(operations);
}
