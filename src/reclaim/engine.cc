#include "reclaim/engine.h"

#include "metrics/events.h"
#include "os/process.h"
#include "page/exposure.h"
#include "page/huge_advice.h"

namespace pm {

OwnLimits own_limits;

namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kSecond = 1000 * kMs;

// Ten looks a second under pressure.
constexpr uint64_t kUrgentNs = 100 * kMs;
constexpr uint64_t kMeasureRefaultNs = 60 * kSecond;
// A round that begins so much later than was asked for tells that the CPUs are busy.
constexpr uint64_t kLateNs = 2 * kMs;

bool is_pressing(Reason reason) {
  return reason == Reason::limit_near || reason == Reason::emergency || reason == Reason::requested;
}

}  // namespace

void CpuBudget::pass(uint64_t now_ns) {
  const uint64_t passed = last_ns_ != 0 && now_ns > last_ns_ ? now_ns - last_ns_ : 0;
  const auto most = static_cast<int64_t>(10 * kSecond / 1000 * permille_);
  if (last_ns_ == 0) left_ns_ = most;
  left_ns_ += static_cast<int64_t>((passed < 100 * kSecond ? passed : 100 * kSecond) / 1000 * permille_);
  if (left_ns_ > most) left_ns_ = most;
  last_ns_ = now_ns;
}

void Engine::configure(const PressureOptions& options) {
  options_ = options;
  forecaster_.configure(options.forecast);
  levels_.configure(options.levels);
  planner_.configure(options.plan);
  budget_.configure(options.cpu_permille);
  executor_.configure(kRealLayers);
  executor_.set_hold_price(options.hold_ns_per_mib_second);
}

// The tightest limit counts: the system's, or one of the program's own, with the usage that goes with it.
void Engine::apply_own_limits(Sample& sample) const {
  constexpr uint32_t kBoth = 1U << static_cast<unsigned>(Source::limit) | 1U << static_cast<unsigned>(Source::usage);
  const auto room_of = [](uint64_t limit, uint64_t usage) { return limit > usage ? limit - usage : 0; };
  const auto tighten = [&](uint64_t limit, uint64_t usage) {
    const bool limited = (sample.missing & kBoth) == 0 && sample.limit_bytes != kNoLimit;
    if (limit == 0 || (limited && room_of(limit, usage) >= room_of(sample.limit_bytes, sample.usage_bytes))) return;
    sample.limit_bytes = limit;
    sample.usage_bytes = usage;
    sample.missing &= ~kBoth;
  };
  tighten(own_limits.soft.load(std::memory_order_relaxed), sample.resident_bytes);
  tighten(own_limits.hard.load(std::memory_order_relaxed), figures_.exposed_bytes());
}

void Engine::look_for_leaks(uint64_t now_ns) {
  leaks_.add(now_ns, figures_.live(), class_table->count);
  unsigned row = 0;
  uint64_t growth = 0;
  const uint32_t score = leaks_.worst(&row, &growth);
  view_.leak = {score, row == 0 ? 0 : static_cast<uint32_t>(size_class(static_cast<ClassId>(row)).size), growth};
}

struct Engine::GoOn {
  Engine& engine;
  Hurry hurry;
  void* context;
  uint64_t cpu_before_ns;
  uint64_t most_ns;
  bool background;  // whether there is time for what makes memory faster
};

// A memory limit does not wait for a CPU budget.
bool Engine::go_on(void* context, Reason reason) {
  auto& c = *static_cast<GoOn*>(context);
  if (c.hurry(c.context)) return false;
  if (!c.background && (reason == Reason::dense || reason == Reason::demand_ahead)) return false;
  const uint64_t now = os::thread_cpu_ns();
  const uint64_t spent = now - c.cpu_before_ns;
  if (c.most_ns != 0 && spent >= c.most_ns) return false;
  if (is_pressing(reason)) return true;
  CpuBudget budget = c.engine.budget_;
  budget.spend(spent);
  return !budget.is_spent();
}

uint64_t Engine::next_round_ns(const Sample& sample, const Plan& plan) {
  uint64_t next = observer_.next_delay_ms(sample) * kMs;
  // A process that could meet its limit within some seconds is looked at as often as can be.
  const bool limited = view_.limit_bytes != kNoLimit;
  const int64_t growth = view_.forecast.growth_bytes_per_second;
  const uint64_t room = limited && view_.limit_bytes > view_.usage_bytes ? view_.limit_bytes - view_.usage_bytes : 0;
  const bool soon = limited && growth > 0 && room / static_cast<uint64_t>(growth) < 10;
  if ((soon || view_.level >= PressureLevel::high) && next > kUrgentNs) next = kUrgentNs;
  if (plan.next_in_ns < next) next = plan.next_in_ns < kUrgentNs ? kUrgentNs : plan.next_in_ns;
  return next;
}

void Engine::open_sensors(bool waits) {
  char watch[256];
  char write[128];
  ObserverOptions options;
  options.waits = waits;
  if (waits && !os::is_secure()) {
    if (os::initial_variable("MEMORY_PRESSURE_WATCH", watch, sizeof watch)) options.pressure_watch = watch;
    if (os::initial_variable("MEMORY_PRESSURE_WRITE", write, sizeof write)) options.pressure_write = write;
  }
  observer_.start(options);
  open_ = true;
}

void Engine::close() {
  page_keep(0);
  huge_advice.set_lent(false);
  if (open_) observer_.stop();
  open_ = false;
}

uint64_t Engine::look_at_limit() {
  Sample sample = {};
  open_sensors(false);
  observer_.read({}, sample);
  close();
  uint64_t limit = effective_limit(sample);
  for (const auto* own : {&own_limits.soft, &own_limits.hard}) {
    const uint64_t bytes = own->load(std::memory_order_relaxed);
    if (bytes != 0 && bytes < limit) limit = bytes;
  }
  return limit;
}

bool Engine::has_woken() {
  if (!open_) return false;
  pollfd* const entries = observer_.waitables();
  bool any = false;
  for (unsigned i = 0; i < kWakes; ++i) any = any || entries[i].fd >= 0;
  return any && os::wait_for_files(entries, kWakes, 0) > 0 && observer_.acknowledge() != 0;
}

// What was given back has changed both sides since the sample. Exposure fell by all of it, but not all of it need have
// been resident: memory tells, not we.
void Engine::set_marks(const Sample& sample, uint64_t given, uint64_t untouched) {
  uint64_t resident = sample.resident_bytes;
  uint64_t usage = view_.usage_bytes;
  uint64_t exposed = view_.exposed_bytes;
  if (given != 0) {
    const uint64_t now = os::process_resident_bytes();
    exposed = exposed_bytes();
    usage = now >= resident ? usage + (now - resident) : usage - (resident - now < usage ? resident - now : usage);
    resident = now;
  }
  const uint64_t pending = pending_.update(exposed, resident);
  marks_ = marks_of(
      {exposed, pending > untouched ? pending : untouched, usage, view_.limit_bytes, is_shared(view_), untouched});
}

// Near the limit every free slot is worth a try, though not ten times a second.
uint64_t Engine::sparse_bytes(uint64_t now_ns) {
  if (view_.level < PressureLevel::critical || now_ns - tried_slabs_ns_ < kSecond)
    return figures_.slab_free().sparse_bytes();
  tried_slabs_ns_ = now_ns;
  return figures_.slab_free().free_bytes() - figures_.slab_free().hollow_bytes();
}

uint64_t Engine::round(const os::RawThread* thread, Hurry hurry, void* context, uint64_t most_ns, uint64_t untouched) {
  const uint64_t cpu_before = os::thread_cpu_ns();
  figures_.gather();
  if (!open_) open_sensors(thread != nullptr);
  Sample sample = {};
  observer_.read(figures_.heap(), sample);
  sample.process_cpu_ns = os::process_cpu_ns();
  apply_own_limits(sample);
  budget_.pass(sample.time_ns);
  forecaster_.add(sample);
  const PressureLevel before = view_.level;
  view_.forecast = forecaster_.current();
  view_.level = levels_.update(sample, view_.forecast);
  if (view_.level != before) record_level(static_cast<uint8_t>(before), static_cast<uint8_t>(view_.level));
  view_.sample = sample;
  view_.exposed_bytes = figures_.exposed_bytes();
  view_.limit_bytes = effective_limit(sample);
  view_.usage_bytes = sample.usage_bytes;
  view_.wanted_bytes = 0;
  look_for_leaks(sample.time_ns);

  const Holdings holdings = executor_.look(sparse_bytes(sample.time_ns));
  const Plan plan = planner_.next(sample, view_.forecast, view_.level, holdings, executor_.prices());
  huge_advice.set_lent(planner_.lends(sample));
  for (unsigned i = 0; i < plan.count; ++i) {
    if (plan.steps[i].action == Action::notify) view_.wanted_bytes = plan.steps[i].goal_bytes;
  }
  ring(view_.level, before, view_.wanted_bytes, thread, &borrowed_);
  // Not on a thread of the program, nor where collapsing would wait for CPUs that are busy (page/collapse.h).
  const bool late = due_ns_ != 0 && sample.time_ns > due_ns_ + kLateNs;
  GoOn context_of_work = {*this, hurry, context, cpu_before, most_ns, thread != nullptr && !late};
  const uint64_t exhausted = executor_.slabs_exhausted();
  const uint64_t given = executor_.carry_out(plan, go_on, &context_of_work);
  if (executor_.slabs_exhausted() != exhausted) figures_.note_slabs_exhausted();
  const bool calm = view_.level == PressureLevel::calm;
  if (calm && most_ns == 0 && sample.time_ns - measured_at_ns_ >= kMeasureRefaultNs &&
      go_on(&context_of_work, Reason::idle)) {
    executor_.measure_refault();
    measured_at_ns_ = sample.time_ns;
  }

  const DirtyFigures left = page_dirty();
  page_keep(view_.level < PressureLevel::high ? left.block_bytes + left.run_bytes : 0);
  set_marks(sample, given, untouched);
  ++view_.rounds;
  view_.refault_ns_per_mib = executor_.prices().refault_ns_per_mib;
  view_.decommit_ns_per_mib = executor_.prices().decommit_ns_per_mib;
  const uint64_t next = next_round_ns(sample, plan);
  const uint64_t spent = os::thread_cpu_ns() - cpu_before;
  cpu_ns_ += spent;
  budget_.spend(spent);
  due_ns_ = os::monotonic_ns() + next;
  return next;
}

}  // namespace pm
