// `poolmalloc record` and `poolmalloc report`: the words of the command line, and what they do.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_REPORT_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_REPORT_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "preload/launcher/recorder.h"

namespace CLI {
class App;
}

namespace pm {

class ReportCommands {
 public:
  // Adds the two subcommands, which fill this object when the command line is parsed. `version` is the command's own.
  ReportCommands(CLI::App& app, std::string version);

  // If one of them was given: does it and returns the exit code, 0; 1 if it could not be done and 2 if it makes no
  // sense, each with one line on stderr.
  std::optional<int> run() const;

 private:
  void add_times(CLI::App* command);
  bool watch(Recording& recording) const;
  int write_record() const;
  int write_report() const;

  const std::string version_;
  CLI::App* record_;
  CLI::App* report_;
  std::optional<pid_t> pid_;
  RecordRequest request_;
  std::string output_;
  std::string recording_;
  std::string profile_;
  std::string comparison_;
  bool json_ = false;
};

// Milliseconds of "250ms", "30s", "10m", "2h", "1d"; a bare number is seconds. Empty if it is none of these.
std::optional<uint64_t> parse_duration_ms(const std::string& text);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_REPORT_H_
