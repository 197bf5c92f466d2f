// `poolmalloc simulate` as the command line knows it.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SIMULATE_COMMAND_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SIMULATE_COMMAND_H_

#include <optional>

#include "preload/launcher/simulate.h"

namespace CLI {
class App;
}

namespace pm {

// Adds the subcommand. After parsing, `run()` is its exit code if it was given.
class SimulateCommand {
 public:
  explicit SimulateCommand(CLI::App& app);
  std::optional<int> run() const;

 private:
  CLI::App* simulate_;
  SimulateRequest request_;
  bool json_ = false;
  bool csv_ = false;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SIMULATE_COMMAND_H_
