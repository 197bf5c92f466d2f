// The command describes itself: its manual page and the shells' completions, made from the same list of subcommands and
// options that the command line is parsed with. So neither can name an option that is not there, or miss one that is.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_MANUAL_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_MANUAL_H_

#include <string>

namespace CLI {
class App;
}

namespace pm {

// poolmalloc(1) in the man macros of roff (groff_man(7)). `exit_codes` is a text of its own, for all subcommands.
std::string manual_page(const CLI::App& app, const std::string& version, const std::string& exit_codes);

// What the shell is to read: "bash", "zsh" or "fish"; empty for another name.
std::string completion_script(const CLI::App& app, const std::string& shell);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_MANUAL_H_
