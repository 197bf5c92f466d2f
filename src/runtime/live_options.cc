#include "runtime/live_options.h"

#include <cerrno>

#include "base/lock.h"
#include "base/seq_cell.h"
#include "heap/heap.h"
#include "heap/misuse.h"
#include "os/process.h"
#include "page/page.h"
#include "reclaim/worker.h"
#include "runtime/notify.h"
#include "runtime/runtime.h"

namespace pm {
namespace {

Lock options_lock(LockRank::options);
// Empty, hence without pages, until the first change. Written under the lock.
SeqCell<Options> changed;
// Release pairs with acquire: who sees it finds a value in `changed`.
std::atomic<bool> any_change{false};

// Hands every live option to its layer, whether or not it is another than before.
void apply(const Options& o) {
  set_dirty_limit(o.dirty_bytes);
  magazine_resize(o.magazine_bytes, o.depot_bytes);
  huge_advice.set_mode(huge_mode(o));
  abort_on_misuse.store(o.misuse == "abort", std::memory_order_relaxed);
  set_callback_seconds(o.callback_seconds);
  set_own_limits(o.limit_soft, o.limit_hard);
  worker_reconfigure(o.worker_start_bytes, pressure_options(o));
}

// With the lock held.
void adopt(const Options& o) {
  changed.write(o);
  any_change.store(true, std::memory_order_release);
  apply(o);
}

}  // namespace

PM_START void options_now(Options& out) {
  out = options();
  if (!any_change.load(std::memory_order_acquire)) return;
  // A signal handler that interrupted the writer gets what was in force at the start.
  while (!changed.read(out) && !options_lock.held_by_this_thread()) os::yield_thread();
}

long change_option_now(const char* name, size_t name_size, const char* value, TextWriter& reason) {
  const int index = find_option(name, name_size);
  if (index < 0) {
    reason.text("is not an option");
    return -ENOENT;
  }
  if (!start_heap()) {
    reason.text("cannot be changed: the C library's allocator serves this process");
    return -ENOSYS;
  }
  if (inside_lock()) {
    reason.text("cannot be changed in this signal handler");
    return -EAGAIN;
  }
  const LockGuard guard(options_lock);
  Options now;
  options_now(now);
  if (!change_option(now, static_cast<size_t>(index), value, reason)) {
    return kOptionInfo[index].when == OptionWhen::start ? -EPERM : -EINVAL;
  }
  adopt(now);
  return 0;
}

bool change_own_limits(uint64_t soft, uint64_t hard) {
  if (inside_lock()) return false;
  const LockGuard guard(options_lock);
  Options now;
  options_now(now);
  now.limit_soft = soft;
  now.limit_hard = hard;
  adopt(now);
  return true;
}

PM_START HugeMode huge_mode(const Options& options) {
  if (options.huge == "auto") return HugeMode::automatic;
  if (options.huge == "always") return HugeMode::always;
  if (options.huge == "collapse") return HugeMode::collapse;
  return options.huge == "hugetlb" ? HugeMode::hugetlb : HugeMode::never;
}

void options_before_fork() { options_lock.lock(); }
void options_after_fork_parent() { options_lock.unlock(); }
void options_after_fork_child(bool interrupted) { options_lock.reset_in_child(interrupted); }

}  // namespace pm
