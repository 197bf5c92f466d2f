#include "observe/waits.h"

#include <initializer_list>

#include "base/text.h"

namespace pm {
namespace {

constexpr uint64_t kQuietNs = 200000000;
// The zero at the end is part of what the kernel reads.
constexpr char kTrigger[] = "some 150000 2000000";

bool copy_text(const char* from, char* to, size_t capacity) {
  const size_t size = text_length(from);
  if (size >= capacity) return false;
  for (size_t i = 0; i <= size; ++i) to[i] = from[i];
  return true;
}

}  // namespace

void Waits::configure(const char* watch, const char* write) {
  watch_[0] = '\0';
  write_size_ = 0;
  refused_ = 0;
  // A relative path is not of the protocol; /dev/null says that the service manager wants no reaction.
  if (watch == nullptr || watch[0] != '/' || text_equal(watch, "/dev/null")) return;
  if (write != nullptr) {
    const long size = os::decode_base64({write, text_length(write)}, write_, sizeof write_);
    if (size < 0) return;
    write_size_ = static_cast<size_t>(size);
  }
  if (!copy_text(watch, watch_, sizeof watch_)) watch_[0] = '\0';
}

void Waits::arrange(const os::FileFunctions& files, os::Scratch scratch, const os::GroupPath& pressure,
                    GroupLimits& limits, uint8_t version, uint64_t limit_bytes) {
  arrange_service_manager(files);
  if (!service_manager_.is_open()) arrange_pressure(files, pressure);
  events_ = version == 2 ? limits.events_file() : nullptr;
  arrange_threshold(files, scratch, limits, version == 1 ? limit_bytes : UINT64_MAX);
}

void Waits::arrange_service_manager(const os::FileFunctions& files) {
  if (watch_[0] == '\0' || is_refused(Wake::service_manager) || service_manager_.verify(files)) return;
  const os::FileKind kind = files.look_up(files.context, watch_).kind;
  watch_is_stream_ = kind == os::FileKind::pipe || kind == os::FileKind::socket;
  if (kind == os::FileKind::socket) {
    const int fd = files.connect(files.context, watch_);
    if (fd >= 0) service_manager_.adopt(files, fd);
  } else if (kind == os::FileKind::pipe || kind == os::FileKind::regular) {
    // Both ways, so that a pipe without a writer does not look ended.
    service_manager_.open(files, watch_, os::OpenMode::read_write);
  }
  const bool ready = service_manager_.is_open() &&
                     (write_size_ == 0 || files.write(files.context, service_manager_.descriptor(), write_,
                                                      write_size_) == static_cast<long>(write_size_));
  if (ready) return;
  service_manager_.close(files);
  refuse(Wake::service_manager);
}

void Waits::arrange_pressure(const os::FileFunctions& files, const os::GroupPath& group) {
  if (is_refused(Wake::pressure) || pressure_.verify(files)) return;
  char path[os::GroupPath::kCapacity];
  for (const bool own : {true, false}) {
    if (own && group.version != 2) continue;
    TextWriter out(path);
    if (own) {
      out.text(group.directory, group.size).text("/memory.pressure");
    } else {
      out.text("/proc/pressure/memory");
    }
    if (pressure_.open(files, out.c_str(), os::OpenMode::read_write) != 0) continue;
    if (files.write(files.context, pressure_.descriptor(), kTrigger, sizeof kTrigger) > 0) return;
    pressure_.close(files);
  }
  refuse(Wake::pressure);
}

void Waits::arrange_threshold(const os::FileFunctions& files, os::Scratch scratch, GroupLimits& limits,
                              uint64_t limit) {
  KeptFile* const usage = limits.usage_file();
  const bool wanted = limit != UINT64_MAX && usage != nullptr && usage->is_open();
  if (counter_.is_open()) {
    // Whether the counter behind the number is still ours is asked when it fires: that opens a file.
    if (wanted && threshold_limit_ == limit && threshold_usage_ == usage->descriptor() && counter_.verify(files))
      return;
    if (counter_.is_open()) close_counter(files, scratch);
  }
  if (!wanted || is_refused(Wake::threshold)) return;
  const int fd = files.create_event(files.context);
  if (fd < 0) return refuse(Wake::threshold);
  counter_.adopt(files, fd);
  threshold_limit_ = limit;
  threshold_usage_ = usage->descriptor();
  counter_id_ = UINT64_MAX;
  // A kernel before 5.2 does not tell eventfds apart: then we could not know later whether this is still ours.
  const bool known = is_our_counter(files, scratch) && counter_id_ != UINT64_MAX;
  if (known && register_threshold(files, limits, limit / 100 * 80) &&
      register_threshold(files, limits, limit / 100 * 95)) {
    return;
  }
  counter_.close(files);
  refuse(Wake::threshold);
}

bool Waits::register_threshold(const os::FileFunctions& files, GroupLimits& limits, uint64_t bytes) {
  if (!limits.usage_file()->verify(files)) return false;
  char path[os::GroupPath::kCapacity];
  limits.path_of_chosen("cgroup.event_control", path);
  const int control = files.open(files.context, path, os::OpenMode::write);
  if (control < 0) return false;
  char line[64];
  TextWriter out(line);
  out.number(static_cast<unsigned>(counter_.descriptor())).character(' ');
  out.number(static_cast<unsigned>(limits.usage_file()->descriptor())).character(' ').number(bytes);
  const long written = files.write(files.context, control, out.data(), out.size());
  files.close(files.context, control);
  return written == static_cast<long>(out.size());
}

// All eventfds share one inode, so the kernel's number of each is compared too. The first call learns it.
bool Waits::is_our_counter(const os::FileFunctions& files, os::Scratch scratch) {
  if (!counter_.verify(files)) return false;
  char path[64];
  TextWriter out(path);
  out.text("/proc/thread-self/fdinfo/").number(static_cast<unsigned>(counter_.descriptor()));
  const int fd = files.open(files.context, out.c_str(), os::OpenMode::read);
  if (fd < 0) return false;
  const long size = files.read(files.context, fd, scratch.data, scratch.size);
  files.close(files.context, fd);
  uint64_t id = 0;
  if (size <= 0 || !os::find_value({scratch.data, static_cast<size_t>(size)}, "eventfd-id", id)) return false;
  if (counter_id_ == UINT64_MAX) counter_id_ = id;
  return id == counter_id_;
}

void Waits::close_counter(const os::FileFunctions& files, os::Scratch scratch) {
  if (is_our_counter(files, scratch)) {
    counter_.close(files);
  } else {
    counter_ = KeptFile{};
  }
}

pollfd* Waits::entries(uint64_t now_ns) {
  const KeptFile* const sources[kWakes] = {&pressure_, &counter_, events_, &service_manager_};
  const short wanted[kWakes] = {POLLPRI, POLLIN, POLLPRI, static_cast<short>(watch_is_stream_ ? POLLIN : POLLPRI)};
  for (unsigned i = 0; i < kWakes; ++i) {
    // A clock that went back must not silence a source for long.
    const bool quiet = now_ns < quiet_until_[i] && quiet_until_[i] - now_ns <= kQuietNs;
    const bool present = sources[i] != nullptr && sources[i]->is_open() && !quiet;
    entries_[i] = {present ? sources[i]->descriptor() : -1, wanted[i], 0};
  }
  return entries_;
}

bool Waits::still_ours(const os::FileFunctions& files, os::Scratch scratch, Wake wake) {
  switch (wake) {
    case Wake::pressure: return pressure_.verify(files);
    case Wake::threshold: return is_our_counter(files, scratch);
    case Wake::events: return events_ != nullptr && events_->verify(files);
    case Wake::service_manager: return service_manager_.verify(files);
  }
  return false;
}

// Takes what made it ready, so that it is not ready at once again. False if the source has ended. Files that fire by
// POLLPRI are made quiet by the kernel (triggers) or by the next sample's read (events).
bool Waits::empty(const os::FileFunctions& files, Wake wake) {
  KeptFile* source = nullptr;
  if (wake == Wake::threshold) source = &counter_;
  if (wake == Wake::service_manager && watch_is_stream_) source = &service_manager_;
  if (source == nullptr) return true;
  char waste[256];
  // A writer that never stops must not hold the worker: what is left fires again.
  for (int i = 0; i < 16; ++i) {
    const long n = files.take(files.context, source->descriptor(), waste, sizeof waste);
    if (n == 0) return false;
    if (n < static_cast<long>(sizeof waste)) break;
  }
  return true;
}

void Waits::drop(const os::FileFunctions& files, os::Scratch scratch, Wake wake) {
  switch (wake) {
    case Wake::pressure: pressure_.close(files); break;
    case Wake::threshold: close_counter(files, scratch); break;
    case Wake::events: events_ = nullptr; break;
    case Wake::service_manager:
      service_manager_.close(files);
      // Ended by the other side, for good.
      refuse(Wake::service_manager);
      break;
  }
}

uint32_t Waits::acknowledge(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns) {
  uint32_t fired = 0;
  for (unsigned i = 0; i < kWakes; ++i) {
    const auto wake = static_cast<Wake>(i);
    const short events = entries_[i].revents;
    entries_[i].revents = 0;
    if (entries_[i].fd < 0 || events == 0) continue;
    if (!still_ours(files, scratch, wake)) {
      // Forgotten already, or somebody else's eventfd: never touched.
      if (wake == Wake::threshold) counter_ = KeptFile{};
      continue;
    }
    const bool wanted = (events & entries_[i].events) != 0;
    if (wanted) fired |= wake_bit(wake);
    quiet_until_[i] = now_ns + kQuietNs;
    if (!wanted || !empty(files, wake)) drop(files, scratch, wake);
  }
  return fired;
}

void Waits::close(const os::FileFunctions& files, os::Scratch scratch) {
  pressure_.close(files);
  service_manager_.close(files);
  if (counter_.is_open()) close_counter(files, scratch);
  events_ = nullptr;
}

}  // namespace pm
