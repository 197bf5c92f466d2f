// The sensors: looks at the process, its groups and the machine, and fills a Sample. Everything is kept open and read
// from its beginning; nothing is allocated; only system calls are made, so that a thread without a C library can run
// it.
//
// Every sample: statm, the limiting group's usage and events, stalls. Every second: the limits of all groups, available
// memory. Every 5 seconds: whether the process was moved to another group. What cannot be read is a bit in
// Sample::missing and is tried again every 5 seconds; the sample is complete otherwise. RLIMIT_AS is a figure
// of its own: giving pages back does not give address space back, so it is no limit in the sense of a Sample.
//
// Not synchronised: one thread at a time. In a forked child, the first read starts anew.
#pragma once

#include "observe/rate.h"
#include "observe/waits.h"

namespace pm {

struct ObserverOptions {
  RateOptions rate;
  bool waits = true;  // open what can wake before a sample is due
  // systemd's MEMORY_PRESSURE_WATCH and MEMORY_PRESSURE_WRITE, or null. Copied by start. Whoever passes them knows
  // that the environment holds still, and that the process is not set-user-id.
  const char* pressure_watch = nullptr;
  const char* pressure_write = nullptr;
};

struct ObserverStatus {
  uint8_t group_version;  // 1 or 2: how this process's memory is accounted; 0: not found
  uint8_t limit_level;    // which group limits: 0 is the process's own, 1 its parent; 255 none
  bool soft_limit;        // the limit is memory.high: it throttles and does not kill
  bool group_pressure;    // stalls are those of the group, not of the whole system
  uint32_t missing;       // as in the latest sample
  uint32_t woken_by;      // wake_bit of what ended the latest wait early; 0: none
  uint64_t wakes;         // total
  uint64_t relocations;   // total: times the groups were looked for
  uint64_t address_space_bytes;
  uint64_t address_space_limit;  // RLIMIT_AS; kNoLimit if none
};

class Observer {
 public:
  // Opens what there is. False if not even this process's own figures can be read; read() goes on trying all the same.
  bool start(const ObserverOptions& options, const os::FileFunctions& files = os::files());
  void read(const HeapFigures& heap, Sample& sample);
  // Called once with each sample.
  uint32_t next_delay_ms(const Sample& sample) { return rate_.next(sample); }
  // To wait on until the next sample: kWakes entries, those not in use with a descriptor below 0. Valid until the next
  // call of any function here.
  pollfd* waitables() { return waits_.entries(now()); }
  // After the wait, before the next read: which of them fired.
  uint32_t acknowledge();
  const ObserverStatus& status() const { return status_; }
  void stop();

 private:
  // A total as the kernel counts it, which starts anew when its source changes; ours goes on.
  struct Total {
    uint64_t sum = 0;
    uint64_t last = 0;
    bool known = false;

    void update(uint64_t value) {
      if (known && value > last) sum += value - last;
      last = value;
      known = true;
    }
  };

  uint64_t now() const { return files_.now_ns(files_.context); }
  os::Scratch scratch() { return {scratch_, sizeof scratch_}; }
  void begin();
  void locate(uint64_t now_ns);
  void refresh(uint64_t now_ns);
  bool is_moved();
  bool read_statm(Sample& sample);
  void read_limit(Sample& sample, uint64_t now_ns);
  void read_stalls(Sample& sample, uint64_t now_ns);
  bool read_stall_file(KeptFile& file, const char* path, uint64_t& stall_ns);
  void read_available();

  os::FileFunctions files_{};
  ObserverOptions options_;
  bool running_ = false;
  int process_ = 0;

  KeptFile statm_, group_list_, available_, group_stalls_, system_stalls_;
  os::Groups groups_;
  GroupLimits limits_;
  Waits waits_;
  SamplingRate rate_;
  ObserverStatus status_{};

  Total stalls_;
  Total events_;
  unsigned events_level_ = 0;
  uint64_t available_bytes_ = 0;
  bool has_available_ = false;

  bool lost_groups_ = false;  // a file of theirs failed: look for them again
  uint64_t refreshed_ns_ = 0;
  uint64_t located_ns_ = 0;
  uint64_t moved_check_ns_ = 0;
  uint64_t stalls_retry_ns_ = 0;

  char scratch_[8192];
};

}  // namespace pm
