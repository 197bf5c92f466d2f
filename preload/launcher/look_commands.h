// `poolmalloc status`, `ps`, `top`, `stats`, `doctor`, `advise` and `topology` as the command line knows them: what
// only looks.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_LOOK_COMMANDS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_LOOK_COMMANDS_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "preload/launcher/top.h"

namespace CLI {
class App;
}

namespace pm {

// Adds the subcommands. After parsing, `run()` is the exit code of the one that was given, if any was.
class LookCommands {
 public:
  explicit LookCommands(CLI::App& app);
  std::optional<int> run() const;

 private:
  void add_pid(CLI::App* command);
  void add_json(CLI::App* command, const char* text);
  void add_top(CLI::App& app);
  int run_top() const;

  CLI::App* status_;
  CLI::App* processes_;
  CLI::App* top_;
  CLI::App* stats_;
  CLI::App* doctor_;
  CLI::App* advise_;
  CLI::App* topology_;
  std::optional<pid_t> pid_;
  bool json_ = false;
  bool once_ = false;
  std::string format_ = "text";
  TopRequest view_;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_LOOK_COMMANDS_H_
