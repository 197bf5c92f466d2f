// What can wake the worker before its next sample is due, as a small array for poll(2):
//
//   pressure         the kernel's stall trigger (PSI) on the process's group, else the system: 150 ms of stalls in 2 s;
//                    windows that are multiples of 2 s need no privilege
//   threshold        version 1: usage crosses 80 % or 95 % of the limit (eventfd and cgroup.event_control)
//   events           version 2: memory.events changed (high or max was met)
//   service_manager  systemd's protocol: MEMORY_PRESSURE_WATCH names a file, pipe or socket, MEMORY_PRESSURE_WRITE what
//                    to write to it first, in base64. It stands in for our own pressure trigger
//
// All are backstops: where nothing can be had, the entries are empty and samples alone must do. A source that fired
// is left out for 200 ms, so that none can wake more often than samples are taken at the fastest rate, nearly.
//
// Not synchronised: one thread at a time. No allocation.
#pragma once

#include <poll.h>

#include "observe/limits.h"

namespace pm {

enum class Wake : uint8_t { pressure, threshold, events, service_manager };
inline constexpr unsigned kWakes = 4;
constexpr uint32_t wake_bit(Wake wake) { return uint32_t{1} << static_cast<unsigned>(wake); }

class Waits {
 public:
  // The two variables of systemd's protocol, or null; copied. Too long or malformed ones count as unset.
  void configure(const char* watch, const char* write);
  // Opens what is missing and follows the limit. `pressure` is the version 2 group; `version` and `limit_bytes` are of
  // the group that `limits` has chosen. Called with every refresh of the limits.
  void arrange(const os::FileFunctions& files, os::Scratch scratch, const os::GroupPath& pressure, GroupLimits& limits,
               uint8_t version, uint64_t limit_bytes);
  // After the groups changed: what was refused may be offered now.
  void forget_refusals() { refused_ = 0; }
  // kWakes entries, in the order of Wake; those of absent sources have a descriptor below 0.
  pollfd* entries(uint64_t now_ns);
  // After the wait: which sources fired (wake_bit each). Empties them and lets those go that are no longer ours.
  uint32_t acknowledge(const os::FileFunctions& files, os::Scratch scratch, uint64_t now_ns);
  void close(const os::FileFunctions& files, os::Scratch scratch);

 private:
  bool is_refused(Wake wake) const { return (refused_ & wake_bit(wake)) != 0; }
  void refuse(Wake wake) { refused_ |= wake_bit(wake); }
  void arrange_service_manager(const os::FileFunctions& files);
  void arrange_pressure(const os::FileFunctions& files, const os::GroupPath& group);
  void arrange_threshold(const os::FileFunctions& files, os::Scratch scratch, GroupLimits& limits, uint64_t limit);
  bool register_threshold(const os::FileFunctions& files, GroupLimits& limits, uint64_t bytes);
  bool is_our_counter(const os::FileFunctions& files, os::Scratch scratch);
  void close_counter(const os::FileFunctions& files, os::Scratch scratch);
  bool still_ours(const os::FileFunctions& files, os::Scratch scratch, Wake wake);
  bool empty(const os::FileFunctions& files, Wake wake);
  void drop(const os::FileFunctions& files, os::Scratch scratch, Wake wake);

  char watch_[256] = {};
  char write_[128] = {};
  size_t write_size_ = 0;
  bool watch_is_stream_ = false;

  KeptFile pressure_;
  KeptFile service_manager_;
  KeptFile counter_;              // the eventfd of the thresholds
  uint64_t counter_id_ = 0;       // what tells it from other eventfds, which all share one inode
  uint64_t threshold_limit_ = 0;  // the limit it was made for
  int threshold_usage_ = -1;      // and the descriptor of the usage file
  KeptFile* events_ = nullptr;    // the limits' own file

  uint32_t refused_ = 0;
  uint64_t quiet_until_[kWakes] = {};
  pollfd entries_[kWakes] = {};
};

}  // namespace pm
