// A server with a cache that may grow larger than its memory limit allows, because nobody knows beforehand what the
// sessions beside it will need. It drops the oldest values when the allocator calls it back under memory pressure, and
// then keeps its cache smaller for a while. Under an allocator that has no such callback it fills its cache as it was
// told to.
//
// Operation: a request: one value looked up, and made if it is not there.
#include <algorithm>
#include <mutex>
#include <utility>

#include "objects.h"
#include "shape.h"

namespace {

constexpr double kTick = 0.005;
constexpr double kMega = 1e6;

// Values by number, the latest used first. Book-keeping lies in pages of its own. No memory is allocated while the
// mutex is held, so the callback may take it.
class Cache {
 public:
  Cache(size_t keys, double most) : keys_(keys), most_(most), allowed_(most) {
    void* place = mmap(nullptr, (keys + 1) * sizeof(Entry), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench::check(place != MAP_FAILED, "mapping the cache's table");
    entries_ = static_cast<Entry*>(place);
    entries_[keys].next = entries_[keys].previous = static_cast<uint32_t>(keys);
  }

  // True if the value is there; it is now the latest used.
  bool look_up(uint32_t key) {
    const std::lock_guard lock(mutex_);
    if (entries_[key].value == nullptr) return false;
    unlink(key);
    link_first(key);
    return true;
  }

  void insert(uint32_t key, char* value, size_t size) {
    {
      const std::lock_guard lock(mutex_);
      entries_[key].value = value;
      entries_[key].size = size;
      link_first(key);
      bytes_ += static_cast<double>(size);
    }
    while (bytes() > allowed()) drop_oldest();
  }

  // Frees the oldest values, and keeps the cache that much smaller.
  void give_back(double wanted) {
    double goal;
    {
      const std::lock_guard lock(mutex_);
      goal = bytes_ > wanted ? bytes_ - wanted : 0;
      dropped_ += bytes_ - goal;
      allowed_ = goal;
    }
    while (bytes() > goal && drop_oldest()) {
    }
  }

  // Time goes by: the cache may slowly become what it was.
  void recover(double seconds) {
    const std::lock_guard lock(mutex_);
    allowed_ = std::min(most_, allowed_ + most_ * 0.01 * seconds);
  }

  double bytes() const { return locked(bytes_); }
  double dropped() const { return locked(dropped_); }

 private:
  struct Entry {
    char* value;
    size_t size;
    uint32_t previous;
    uint32_t next;
  };

  double locked(const double& value) const {
    const std::lock_guard lock(mutex_);
    return value;
  }
  double allowed() const { return locked(allowed_); }

  bool drop_oldest() {
    char* value = nullptr;
    {
      const std::lock_guard lock(mutex_);
      const uint32_t key = entries_[keys_].previous;
      if (key == keys_) return false;
      unlink(key);
      value = std::exchange(entries_[key].value, nullptr);
      bytes_ -= static_cast<double>(entries_[key].size);
    }
    bench::give(value);
    return true;
  }

  void unlink(uint32_t key) {
    entries_[entries_[key].previous].next = entries_[key].next;
    entries_[entries_[key].next].previous = entries_[key].previous;
  }

  void link_first(uint32_t key) {
    const auto head = static_cast<uint32_t>(keys_);
    entries_[key].previous = head;
    entries_[key].next = entries_[head].next;
    entries_[entries_[head].next].previous = key;
    entries_[head].next = key;
  }

  mutable std::mutex mutex_;
  size_t keys_;
  double most_;
  double allowed_;
  double bytes_ = 0;
  double dropped_ = 0;
  Entry* entries_ = nullptr;
};

struct Listener {
  Cache& cache;
  std::atomic<uint64_t> calls{0};  // relaxed: a count
};

void under_pressure(const pm_forecast* now, void* data) {
  auto& listener = *static_cast<Listener*>(data);
  listener.calls.fetch_add(1, std::memory_order_relaxed);
  listener.cache.give_back(static_cast<double>(now->wanted_bytes));
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("cache", argc, argv);
  const bool smoke = workload.smoke();
  const double length = workload.number("seconds", smoke ? 0.5 : 40);
  bench::ShapeRequest request;
  request.name = "square";
  request.low = workload.number("low", smoke ? 2 : 60) * kMega;
  request.high = workload.number("high", smoke ? 4 : 180) * kMega;
  request.period = workload.number("period", smoke ? 0.2 : 8);
  request.length = length;
  const double most = workload.number("cache", smoke ? 8 : 500) * kMega;
  const size_t keys = workload.count("keys", smoke ? 2000 : 80000);
  const size_t rate = workload.count("rate", 4000);  // requests a second
  bench::ObjectSettings settings;
  settings.seed = workload.seed();
  bench::Budget unlimited("", 0);
  bench::Recorder recorder(workload.text("samples", ""), length);
  const double start = workload.number("start", bench::monotonic());

  static Cache cache(keys, most);
  static Listener listener{cache};
  const bench::Shape shape(request);
  bench::Objects sessions(settings, unlimited);
  bench::MallocTimes times;
  bench::Random random(settings.seed + 1);
  auto* subscribe = bench::offered<decltype(pm_pressure_subscribe)>("pm_pressure_subscribe");
  if (subscribe != nullptr) {
    bench::check(subscribe(PM_PRESSURE_HIGH, under_pressure, &listener) > 0, "subscribing to memory pressure");
  }

  bench::sleep_until(start);
  const bench::Cost cost;
  workload.start();
  uint64_t done = 0;
  uint64_t hits = 0;
  double work_seconds = 0;
  const auto now = [&] { return bench::monotonic() - start; };
  const auto live = [&] { return sessions.bytes() + static_cast<uint64_t>(cache.bytes()); };
  for (double tick = 0; tick < length; tick += kTick) {
    bench::sleep_until(start + tick);
    if (now() > length) break;
    for (const auto target = static_cast<uint64_t>(shape.at(now())); sessions.bytes() < target && sessions.grow();) {
      recorder.sample(now(), live());
    }
    while (sessions.bytes() > static_cast<uint64_t>(shape.at(now())) + (1 << 20)) sessions.shrink();
    const double from = bench::thread_seconds();
    for (const auto due = static_cast<uint64_t>(tick * static_cast<double>(rate)); done < due; ++done) {
      // Some keys are wanted far more often than others.
      const double part = static_cast<double>(random.below(1 << 20)) / (1 << 20);
      const auto key = static_cast<uint32_t>(static_cast<double>(keys) * part * part);
      if (cache.look_up(key)) {
        ++hits;
        continue;
      }
      const size_t size = 1024 + key % 15 * 1024;
      char* value = times.make(size, 'v');
      if (value != nullptr) cache.insert(key, value, size);
    }
    cache.recover(kTick);
    work_seconds += bench::thread_seconds() - from;
    recorder.sample(now(), live());
  }
  recorder.sample(now(), live(), true);
  workload.stop();

  cost.report(workload, recorder, times, std::max<uint64_t>(done, 1), work_seconds, now());
  workload.field("hit_percent", 100 * static_cast<double>(hits) / static_cast<double>(std::max<uint64_t>(done, 1)));
  workload.field("callbacks", static_cast<double>(listener.calls.load(std::memory_order_relaxed)));
  workload.field("dropped_mb", cache.dropped() / kMega);
  return workload.report(std::max<uint64_t>(done, 1));
}
