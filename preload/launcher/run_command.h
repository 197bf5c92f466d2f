// `poolmalloc run` as the command line knows it.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_RUN_COMMAND_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_RUN_COMMAND_H_

#include <optional>
#include <string>

#include "preload/launcher/run.h"

namespace CLI {
class App;
}

namespace pm {

// Adds the subcommand. After parsing, `run()` is its exit code if it was given.
class RunCommand {
 public:
  explicit RunCommand(CLI::App& app, const std::string& exit_codes);

  // How many of the arguments are ours; the others are the program's, and kept for run(). To be asked before parsing,
  // of which those are all.
  int take_program(int argc, char** argv);
  std::optional<int> run() const;

 private:
  CLI::App* run_;
  RunRequest request_;
  std::string statistics_;
  std::string preset_;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_RUN_COMMAND_H_
