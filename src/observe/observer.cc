#include "observe/observer.h"

#include <initializer_list>

#include "base/text.h"
#include "os/process.h"

namespace pm {
namespace {

constexpr uint64_t kSecond = 1000000000;
constexpr uint64_t kRefreshNs = kSecond;
constexpr uint64_t kRetryNs = 5 * kSecond;

// A clock that went back has everything due.
bool is_due(uint64_t now_ns, uint64_t last_ns, uint64_t period_ns) {
  return now_ns < last_ns || now_ns - last_ns >= period_ns;
}

void set_missing(Sample& sample, Source source) { sample.missing |= uint32_t{1} << static_cast<unsigned>(source); }

}  // namespace

bool Observer::start(const ObserverOptions& options, const os::FileFunctions& files) {
  stop();
  files_ = files;
  options_ = options;
  rate_.configure(options.rate);
  waits_.configure(options.pressure_watch, options.pressure_write);
  // What they point to need not outlive this call.
  options_.pressure_watch = options_.pressure_write = nullptr;
  status_ = {};
  stalls_ = {};
  events_ = {};
  running_ = true;
  begin();
  Sample sample{};
  return read_statm(sample);
}

void Observer::begin() {
  process_ = files_.process(files_.context);
  const uint64_t now_ns = now();
  locate(now_ns);
  refresh(now_ns);
}

void Observer::stop() {
  if (!running_) return;
  for (KeptFile* file : {&statm_, &group_list_, &available_, &group_stalls_, &system_stalls_}) file->close(files_);
  waits_.close(files_, scratch());
  limits_.close(files_);
  groups_ = {};
  running_ = false;
}

void Observer::locate(uint64_t now_ns) {
  // Their waits hang on the old groups.
  waits_.close(files_, scratch());
  waits_.forget_refusals();
  group_stalls_.close(files_);
  os::find_groups(files_, scratch(), groups_);
  limits_.locate(files_, groups_.memory);
  located_ns_ = moved_check_ns_ = now_ns;
  lost_groups_ = false;
  events_.known = false;
  stalls_.known = false;
  stalls_retry_ns_ = 0;
  ++status_.relocations;
  status_.group_version = groups_.memory.version;
}

bool Observer::is_moved() {
  const long size = group_list_.load(files_, os::kGroupList, scratch_, sizeof scratch_ / 2);
  if (size <= 0) return false;
  return os::fingerprint(os::whole_lines({scratch_, static_cast<size_t>(size)})) != groups_.fingerprint;
}

void Observer::refresh(uint64_t now_ns) {
  refreshed_ns_ = now_ns;
  if (!limits_.refresh(files_, scratch(), now_ns)) lost_groups_ = true;
  read_available();
  status_.address_space_limit = files_.address_space_limit(files_.context);
  if (!options_.waits) return;
  LimitReading reading;
  limits_.read(files_, scratch(), now_ns, reading);
  waits_.arrange(files_, scratch(), groups_.pressure, limits_, groups_.memory.version, reading.limit_bytes);
}

void Observer::read(const HeapFigures& heap, Sample& sample) {
  sample = {};
  sample.heap = heap;
  sample.limit_bytes = kNoLimit;
  if (!running_) {
    sample.missing = (uint32_t{1} << (static_cast<unsigned>(Source::events) + 1)) - 1;
    return;
  }
  if (files_.process(files_.context) != process_) {
    // A forked child: what is open here speaks of the parent.
    stop();
    running_ = true;
    begin();
  }
  const uint64_t now_ns = now();
  sample.time_ns = now_ns;
  if (is_due(now_ns, moved_check_ns_, kRetryNs)) {
    moved_check_ns_ = now_ns;
    // Where nothing was found, it may have come to be (a mount).
    if (groups_.fingerprint == 0 || groups_.memory.version == 0 || is_moved()) lost_groups_ = true;
  }
  if (lost_groups_ && is_due(now_ns, located_ns_, kRefreshNs)) {
    locate(now_ns);
    refresh(now_ns);
  } else if (is_due(now_ns, refreshed_ns_, kRefreshNs)) {
    refresh(now_ns);
  }
  if (!read_statm(sample)) set_missing(sample, Source::statm);
  read_limit(sample, now_ns);
  read_stalls(sample, now_ns);
  sample.host_available_bytes = available_bytes_;
  if (!has_available_) set_missing(sample, Source::host);
  status_.missing = sample.missing;
}

bool Observer::read_statm(Sample& sample) {
  char text[128];
  // That of the thread: the process's own turns to zeros when its first thread ends before the others.
  const long size = statm_.load(files_, "/proc/thread-self/statm", text, sizeof text);
  uint64_t total = 0;
  uint64_t resident = 0;
  const os::Text line = os::whole_lines({text, size > 0 ? static_cast<size_t>(size) : 0});
  if (!os::read_number(os::word(line, 0), total) || !os::read_number(os::word(line, 1), resident) || resident == 0 ||
      resident > total || total > UINT64_MAX / os::page_size()) {
    // The thread that opened it may be gone: the next look opens it anew.
    statm_.close(files_);
    return false;
  }
  sample.resident_bytes = resident * os::page_size();
  status_.address_space_bytes = total * os::page_size();
  return true;
}

void Observer::read_limit(Sample& sample, uint64_t now_ns) {
  LimitReading reading;
  if (!limits_.read(files_, scratch(), now_ns, reading)) lost_groups_ = true;
  sample.limit_bytes = reading.limit_bytes;
  // Without a limit nothing is counted against it, and the process's own size is what it can do something about: a
  // group without one may be a whole login session, or the machine.
  sample.usage_bytes = reading.has_usage ? reading.usage_bytes : sample.resident_bytes;
  status_.soft_limit = reading.soft;
  const bool limited = reading.limit_bytes != kNoLimit;
  status_.limit_level = static_cast<uint8_t>(limited ? reading.level : 255);
  if (!reading.has_limit) set_missing(sample, Source::limit);
  if (limited ? !reading.has_usage : !reading.has_limit) set_missing(sample, Source::usage);
  if (!reading.has_events) set_missing(sample, Source::events);
  if (limited && reading.has_events) {
    if (reading.level != events_level_) events_.known = false;
    events_level_ = reading.level;
    events_.update(reading.events);
  }
  sample.limit_events = events_.sum;
}

bool Observer::read_stall_file(KeptFile& file, const char* path, uint64_t& stall_ns) {
  char text[256];
  const long size = file.load(files_, path, text, sizeof text);
  uint64_t microseconds = 0;
  if (size <= 0 || !os::read_stall({text, static_cast<size_t>(size)}, microseconds)) return false;
  return !__builtin_mul_overflow(microseconds, uint64_t{1000}, &stall_ns);
}

void Observer::read_stalls(Sample& sample, uint64_t now_ns) {
  // What failed rests for a while: opening is the dear part.
  const bool retry = stalls_retry_ns_ == 0 || is_due(now_ns, stalls_retry_ns_, kRetryNs);
  if (retry) stalls_retry_ns_ = now_ns;
  uint64_t stall_ns = 0;
  bool of_group = false;
  if (groups_.pressure.version == 2 && (group_stalls_.is_open() || retry)) {
    char path[os::GroupPath::kCapacity];
    TextWriter out(path);
    out.text(groups_.pressure.directory, groups_.pressure.size).text("/memory.pressure");
    of_group = read_stall_file(group_stalls_, out.c_str(), stall_ns);
  }
  const bool readable = of_group || ((system_stalls_.is_open() || retry) &&
                                     read_stall_file(system_stalls_, "/proc/pressure/memory", stall_ns));
  if (readable) {
    if (of_group != status_.group_pressure) stalls_.known = false;
    status_.group_pressure = of_group;
    stalls_.update(stall_ns);
  } else {
    set_missing(sample, Source::pressure);
  }
  sample.stall_ns = stalls_.sum;
}

void Observer::read_available() {
  const long size = available_.load(files_, "/proc/meminfo", scratch_, sizeof scratch_);
  uint64_t kib = 0;
  has_available_ =
      size > 0 && os::find_value({scratch_, static_cast<size_t>(size)}, "MemAvailable", kib) && kib < UINT64_MAX / 1024;
  available_bytes_ = has_available_ ? kib * 1024 : 0;
}

uint32_t Observer::acknowledge() {
  if (!running_) return 0;
  status_.woken_by = waits_.acknowledge(files_, scratch(), now());
  if (status_.woken_by != 0) ++status_.wakes;
  return status_.woken_by;
}

}  // namespace pm
