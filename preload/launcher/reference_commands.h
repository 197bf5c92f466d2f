// `poolmalloc options`, `metrics`, `manual` and `completion` as the command line knows them: what the command tells of
// the library and of itself.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_REFERENCE_COMMANDS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_REFERENCE_COMMANDS_H_

#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace pm {

// Adds the subcommands, after all others have been added. After parsing, `run()` is the exit code of the one that was
// given, if any was.
class ReferenceCommands {
 public:
  ReferenceCommands(CLI::App& app, std::string version, std::string exit_codes);
  std::optional<int> run() const;

 private:
  const CLI::App& app_;
  const std::string version_;
  const std::string exit_codes_;
  CLI::App* options_;
  CLI::App* metrics_;
  CLI::App* completion_;
  CLI::App* manual_;
  bool markdown_ = false;
  std::string shell_;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_REFERENCE_COMMANDS_H_
