// poolmalloc prof and poolmalloc leaks: the words of the command line, and what they do.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_COMMANDS_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_COMMANDS_H_

#include <sys/types.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "preload/launcher/profile_text.h"

namespace pm {

class ProfileCommands {
 public:
  // Adds the two subcommands, which fill this object when the command line is parsed.
  explicit ProfileCommands(CLI::App& app);

  // If one of them was given: does it and returns the exit code, 0; 1 if it could not be done and 2 if it makes no
  // sense, each with one line on stderr.
  std::optional<int> run() const;

 private:
  enum class Format { text, json, pprof, collapsed, speedscope, raw };

  CLI::App* add(const char* name, const char* text);
  void add_view(CLI::App* command);
  void add_output(CLI::App* command, bool of_difference);
  void add_table(CLI::App* command);

  int convert() const;
  int top() const;
  int diff() const;
  int leaks() const;

  CLI::App* prof_;
  CLI::App* start_;
  CLI::App* stop_;
  CLI::App* dump_;
  CLI::App* convert_;
  CLI::App* top_;
  CLI::App* diff_;
  CLI::App* leaks_;

  pid_t pid_ = 0;
  uint64_t rate_ = 0;  // 0: the library's default
  std::string source_;
  std::string second_source_;
  std::string output_;
  Format format_ = Format::pprof;
  Format diff_format_ = Format::text;
  View view_;
  size_t rows_ = 20;
  bool json_ = false;
  uint64_t older_than_s_ = 300;
  uint64_t watch_s_ = 0;
};

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PROFILE_COMMANDS_H_
