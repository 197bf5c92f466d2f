// What CLI11 knows of the command line, as plain data: for the manual page and the completions.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_COMMAND_LIST_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_COMMAND_LIST_H_

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace pm {

struct CommandOption {
  std::vector<std::string> names;    // "--json", "-h"; none for a positional argument
  std::string value;                 // "PID", "FORMAT"; empty for a flag
  std::string text;                  // what it does
  std::vector<std::string> choices;  // the words that it takes, if it takes no others
  bool required;
  bool several;  // may be given several times
};

struct Command {
  std::vector<std::string> path;  // {"prof", "dump"}; empty for the command itself
  std::string text;
  std::string footer;
  std::vector<CommandOption> options;
  std::vector<CommandOption> arguments;
  std::vector<std::string> subcommands;
};

// The command itself first, then its subcommands, each before its own.
std::vector<Command> list_commands(const CLI::App& app);

// "poolmalloc prof dump"
std::string full_name(const Command& command);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_COMMAND_LIST_H_
