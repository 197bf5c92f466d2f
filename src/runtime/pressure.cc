// The pressure story's place in the process: its options, its part of the fork handlers and of the statistics, and the
// functions of the public API that need no thread.
#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>

#include "heap/heap.h"
#include "os/process.h"
#include "page/exposure.h"
#include "poolmalloc/poolmalloc.h"
#include "reclaim/settings.h"
#include "reclaim/worker.h"
#include "runtime/control.h"
#include "runtime/live_options.h"
#include "runtime/notify.h"
#include "runtime/runtime.h"

#define PM_API extern "C" __attribute__((visibility("default")))

namespace pm {
namespace {

uint64_t relaxed(const std::atomic<uint64_t>& value) { return value.load(std::memory_order_relaxed); }

uint64_t released(Reason reason) { return relaxed(reclaim_counters.released_bytes[static_cast<unsigned>(reason)]); }

void collect_forecast(const PressureView& view, Snapshot& out) {
  const Forecast& f = view.forecast;
  out.forecast_near_bytes = f.demand[0].bytes;
  out.forecast_bytes = f.demand[1].bytes;
  out.forecast_low_bytes = f.demand[1].low;
  out.forecast_high_bytes = f.demand[1].high;
  out.forecast_far_bytes = f.demand[2].bytes;
  out.forecast_usage_bytes = f.usage[1].bytes;
  out.seconds_to_limit = f.seconds_to_limit;
  out.forecast_trend = static_cast<uint64_t>(f.trend);
  out.forecast_confidence = f.confidence_permille;
  out.forecasts_judged = f.score.judged;
  out.forecast_near_error = f.score.error_permille[0];
  out.forecast_error = f.score.error_permille[1];
  out.forecast_far_error = f.score.error_permille[2];
  out.forecast_naive_error = f.score.naive_error_permille[1];
  out.forecast_coverage = f.score.coverage_permille[1];
  out.forecast_alarms = f.score.alarms;
  out.forecast_false_alarms = f.score.false_alarms;
  out.leak_score = view.leak.score_permille;
  out.leak_size = view.leak.size;
  out.leak_growth_bytes = view.leak.growth_bytes;
}

bool is_level(enum pm_pressure level) { return level >= PM_PRESSURE_MODERATE && level <= PM_PRESSURE_EMERGENCY; }

}  // namespace

PM_START PressureOptions pressure_options(const Options& o) {
  PressureOptions out = {};
  out.levels = level_options(o);
  out.forecast.critical_seconds = static_cast<uint32_t>(o.trend_critical);
  out.forecast.stable_permille = static_cast<uint32_t>(o.trend_stable);
  out.cpu_permille = static_cast<uint32_t>(o.worker_cpu);
  out.hold_ns_per_mib_second = o.memory_price * 1000;
  out.plan = plan_options(o);
  return out;
}

PM_START void start_pressure(const Options& o) {
  WorkerOptions worker = {};
  worker.mode = o.worker == "off" ? WorkerMode::off : o.worker == "always" ? WorkerMode::always : WorkerMode::automatic;
  worker.start_bytes = o.worker_start_bytes;
  worker.start_seconds = o.worker_start_seconds;
  worker.pressure = pressure_options(o);
  if (o.control == "on" && !os::is_secure()) worker.control = answer_control;
  set_callback_seconds(o.callback_seconds);
  own_limits.soft.store(o.limit_soft, std::memory_order_relaxed);
  own_limits.hard.store(o.limit_hard, std::memory_order_relaxed);
  worker_configure(worker);
}

PM_START bool admit_exposure(size_t bytes, uint64_t before) { return admit(bytes, before); }

void collect_pressure(Snapshot& out) {
  const WorkerStatistics worker = worker_statistics();
  out.worker_state = static_cast<uint64_t>(worker.state);
  out.worker_starts = worker.starts;
  out.worker_cpu_ns = worker.cpu_ns;
  out.worker_kicks = worker.kicks;
  out.emergencies = worker.emergencies;
  out.limit_refusals = worker.refusals;
  out.exposed_bytes = exposed_bytes();
  const NotifyStatistics notify = notify_statistics();
  out.callbacks = notify.called;
  out.callbacks_overdue = notify.overdue;
  out.released_idle_bytes = released(Reason::idle);
  out.released_distance_bytes = released(Reason::distance);
  out.released_pressure_bytes = released(Reason::pressure);
  out.released_limit_bytes = released(Reason::limit_near);
  out.released_emergency_bytes = released(Reason::emergency);
  out.released_request_bytes = released(Reason::requested);
  out.drained_bytes = relaxed(reclaim_counters.drained_bytes);
  out.prefaulted_bytes = relaxed(reclaim_counters.prefaulted_bytes);
  out.seconds_to_limit = kNever;
  PressureView view;
  if (!pressure_view(view)) return;
  out.worker_rounds = view.rounds;
  out.pressure_level = static_cast<uint64_t>(view.level);
  out.limit_bytes = view.limit_bytes == kNoLimit ? 0 : view.limit_bytes;
  out.usage_bytes = view.usage_bytes;
  out.headroom_bytes = out.limit_bytes > view.usage_bytes ? out.limit_bytes - view.usage_bytes : 0;
  out.wanted_bytes = view.wanted_bytes;
  out.missing_sources = view.sample.missing;
  out.refaulted_bytes = view.sample.heap.refaulted_bytes;
  out.refault_price_ns = view.refault_ns_per_mib;
  out.decommit_price_ns = view.decommit_ns_per_mib;
  collect_forecast(view, out);
}

void describe_pressure(const PressureView& view, pm_forecast& out) {
  out = {};
  const Forecast& f = view.forecast;
  out.level = static_cast<pm_pressure>(view.level);
  out.trend = static_cast<pm_trend>(f.trend);
  out.confidence = static_cast<double>(f.confidence_permille) / 1000;
  out.limit_bytes = view.limit_bytes == kNoLimit ? SIZE_MAX : view.limit_bytes;
  out.usage_bytes = view.usage_bytes;
  out.wanted_bytes = view.wanted_bytes;
  out.seconds_to_limit = f.seconds_to_limit;
  out.earliest_seconds = f.earliest_seconds;
  out.latest_seconds = f.latest_seconds;
  out.growth_bytes_per_second = f.growth_bytes_per_second;
  out.allocation_bytes_per_second = f.allocation_bytes_per_second;
  out.free_bytes_per_second = f.free_bytes_per_second;
  for (unsigned i = 0; i < kHorizons; ++i) {
    out.horizon[i].seconds = kHorizonSeconds[i];
    out.horizon[i].demand_bytes = f.demand[i].bytes;
    out.horizon[i].demand_low_bytes = f.demand[i].low;
    out.horizon[i].demand_high_bytes = f.demand[i].high;
    out.horizon[i].usage_bytes = f.usage[i].bytes;
  }
}

bool current_pressure(PressureView& out) {
  if (!start_heap()) return false;
  return pressure_view(out) || (pressure_round() && pressure_view(out));
}

}  // namespace pm

PM_API enum pm_pressure pm_pressure_level(void) {
  pm::PressureView view;
  return pm::current_pressure(view) ? static_cast<pm_pressure>(view.level) : PM_PRESSURE_CALM;
}

PM_API int pm_forecast_get(struct pm_forecast* forecast) {
  pm::PressureView view;
  if (!pm::current_pressure(view)) {
    errno = EAGAIN;
    return -1;
  }
  pm::describe_pressure(view, *forecast);
  return 0;
}

PM_API int pm_limit_set(size_t soft, size_t hard) {
  if (!pm::start_heap()) {
    errno = ENOSYS;
    return -1;
  }
  if (!pm::change_own_limits(soft, hard)) {
    errno = EAGAIN;
    return -1;
  }
  if (soft != 0 || hard != 0) pm::worker_want();
  return 0;
}

PM_API int pm_pressure_eventfd(enum pm_pressure level) {
  if (!pm::is_level(level)) {
    errno = EINVAL;
    return -1;
  }
  if (!pm::start_heap() || !pm::worker_want()) {
    errno = ENOSYS;
    return -1;
  }
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return -1;
  for (pm::EventSlot& slot : pm::event_slots) {
    int unused = -1;
    // A descriptor that is at hand already was closed by the program, and its number given out again.
    if (slot.fd.load(std::memory_order_relaxed) == fd) unused = fd;
    if (!slot.fd.compare_exchange_strong(unused, fd, std::memory_order_acquire)) continue;
    slot.level.store(static_cast<uint8_t>(level), std::memory_order_relaxed);
    // Odd: in use. Two more: another user. Release pairs with the acquire of whoever rings.
    slot.generation.store((slot.generation.load(std::memory_order_relaxed) + 2) | 1U, std::memory_order_release);
    return fd;
  }
  pm::os::close_file(fd);
  errno = ENOSPC;
  return -1;
}

PM_API int pm_pressure_eventfd_close(int fd) {
  for (pm::EventSlot& slot : pm::event_slots) {
    int expected = fd;
    if (fd < 0 || slot.fd.load(std::memory_order_relaxed) != fd) continue;
    slot.generation.fetch_add(1, std::memory_order_release);
    if (!slot.fd.compare_exchange_strong(expected, -1, std::memory_order_release)) continue;
    pm::os::close_file(fd);
    return 0;
  }
  errno = EBADF;
  return -1;
}
