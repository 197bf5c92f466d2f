// `poolmalloc serve` and `fleet` as the command line knows them.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SERVE_COMMANDS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SERVE_COMMANDS_H_

#include <optional>
#include <string>

#include "preload/launcher/serve.h"

namespace CLI {
class App;
}

namespace pm {

// Adds the two subcommands. After parsing, `run()` is the exit code of the one that was given, if any was.
class ServeCommands {
 public:
  explicit ServeCommands(CLI::App& app);
  std::optional<int> run() const;

 private:
  CLI::App* serve_;
  CLI::App* fleet_;
  ServeRequest request_;
  std::string part_;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SERVE_COMMANDS_H_
