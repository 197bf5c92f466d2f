// `poolmalloc trim`, `set` and `get`: changing and asking a process that runs. Each returns the exit code: 0, or 1
// after one line on stderr.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_CONTROL_COMMANDS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_CONTROL_COMMANDS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace pm {

int trim_process(pid_t pid, std::optional<uint64_t> bytes, bool as_json);
// name=value each, in order; the first that is refused ends it.
int set_options_of(pid_t pid, const std::vector<std::string>& settings, bool as_json);
// One option's value, or all of them.
int print_options_of(pid_t pid, const std::string& name, bool as_json);

// Adds the three subcommands. After parsing, `run()` is the exit code of the one that was given, if any was.
class ControlCommands {
 public:
  explicit ControlCommands(CLI::App& app);
  std::optional<int> run() const;

 private:
  CLI::App* trim_;
  CLI::App* set_;
  CLI::App* get_;
  pid_t pid_ = 0;
  std::optional<uint64_t> bytes_;
  std::vector<std::string> settings_;
  std::string name_;
  bool json_ = false;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_CONTROL_COMMANDS_H_
