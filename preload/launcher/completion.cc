// What the shells complete: subcommands, options, the words that an option takes, process numbers and files.
#include "preload/launcher/command_list.h"
#include "preload/launcher/manual.h"

namespace pm {
namespace {

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

// In single quotes, as all three shells read it.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

bool is_process(const CommandOption& option) { return option.value == "PID"; }

std::string names_of(const Command& command) {
  std::vector<std::string> words;
  for (const CommandOption& option : command.options)
    words.insert(words.end(), option.names.begin(), option.names.end());
  return joined(words, " ");
}

bool takes_process(const Command& command) {
  for (const CommandOption& argument : command.arguments) {
    if (is_process(argument)) return true;
  }
  return false;
}

// One line of a case: the words before the one that is completed, up to options, choose it.
std::string bash_case(const Command& command) {
  std::string text = "    " + quoted(joined(command.path, " ")) + ")\n";
  std::string values;
  std::vector<std::string> files;
  for (const CommandOption& option : command.options) {
    if (!option.choices.empty()) {
      values += "        " + joined(option.names, "|") + ") COMPREPLY=($(compgen -W " +
                quoted(joined(option.choices, " ")) + " -- \"$cur\")); return ;;\n";
    } else if (!option.value.empty()) {
      files.insert(files.end(), option.names.begin(), option.names.end());
    }
  }
  if (!files.empty())
    values += "        " + joined(files, "|") + ") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n";
  if (!values.empty()) text += "      case \"$prev\" in\n" + values + "      esac\n";
  text += "      words=" + quoted(names_of(command)) + "\n";
  for (const CommandOption& argument : command.arguments) {
    if (!argument.choices.empty()) text += "      words+=" + quoted(" " + joined(argument.choices, " ")) + "\n";
  }
  if (!command.subcommands.empty()) text += "      words+=" + quoted(" " + joined(command.subcommands, " ")) + "\n";
  if (takes_process(command)) text += "      [[ $cur == -* ]] || words+=\" $(_poolmalloc_processes)\"\n";
  if (command.path == std::vector<std::string>{"run"})
    text += "      [[ $cur == -* ]] || words+=\" $(compgen -c -- \"$cur\")\"\n";
  return text + "      ;;\n";
}

std::string bash_script(const std::vector<Command>& commands) {
  std::string text =
      "# Completion of poolmalloc for bash, written by poolmalloc completion bash.\n"
      "_poolmalloc_processes() { \"${COMP_WORDS[0]}\" ps 2>/dev/null | awk 'NR > 1 { print $1 }'; }\n\n"
      "_poolmalloc() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} path='' word words='' i\n"
      "  COMPREPLY=()\n"
      "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
      "    word=${COMP_WORDS[i]}\n"
      "    case \" $_poolmalloc_paths \" in *\" ${path:+${path// /:}:}$word \"*) path=${path:+$path }$word ;; *) break "
      ";; esac\n"
      "  done\n"
      "  case \"$path\" in\n";
  std::vector<std::string> paths;
  for (const Command& command : commands) {
    text += bash_case(command);
    if (!command.path.empty()) paths.push_back(joined(command.path, ":"));
  }
  text +=
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
      "  [[ ${#COMPREPLY[@]} -gt 0 || $cur == -* ]] || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
      "}\n\n";
  text += "_poolmalloc_paths=" + quoted(joined(paths, " ")) + "\n";
  return text + "complete -o filenames -F _poolmalloc poolmalloc\n";
}

// zsh runs bash's completions.
std::string zsh_script(const std::vector<Command>& commands) {
  return "#compdef poolmalloc\nautoload -Uz bashcompinit && bashcompinit\n" + bash_script(commands);
}

// The condition under which fish offers what belongs to a command.
std::string fish_condition(const Command& command) {
  if (command.path.empty()) return "__fish_use_subcommand";
  std::string condition;
  for (const std::string& word : command.path) {
    condition += (condition.empty() ? "" : "; and ") + std::string("__fish_seen_subcommand_from ") + word;
  }
  return condition;
}

std::string fish_option(const Command& command, const CommandOption& option) {
  std::string line = "complete -c poolmalloc -n " + quoted(fish_condition(command));
  for (const std::string& name : option.names) {
    line += name.compare(0, 2, "--") == 0 ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  if (!option.value.empty()) line += option.choices.empty() ? " -r" : " -x -a " + quoted(joined(option.choices, " "));
  return line + " -d " + quoted(option.text) + "\n";
}

std::string fish_script(const std::vector<Command>& commands) {
  std::string text = "# Completion of poolmalloc for fish, written by poolmalloc completion fish.\n";
  for (const Command& command : commands) {
    for (const CommandOption& option : command.options) text += fish_option(command, option);
    for (const CommandOption& argument : command.arguments) {
      if (argument.choices.empty()) continue;
      text += "complete -c poolmalloc -f -n " + quoted(fish_condition(command)) + " -a " +
              quoted(joined(argument.choices, " ")) + "\n";
    }
    if (takes_process(command)) {
      text += "complete -c poolmalloc -f -n " + quoted(fish_condition(command)) +
              " -a \"(poolmalloc ps 2>/dev/null | awk 'NR > 1 { print \\$1 \\\"\\t\\\" \\$2 }')\"\n";
    }
    if (command.path.empty()) continue;
    Command parent = command;
    parent.path.pop_back();
    text += "complete -c poolmalloc -f -n " + quoted(fish_condition(parent)) + " -a " + command.path.back() + " -d " +
            quoted(command.text) + "\n";
  }
  return text;
}

}  // namespace

std::string completion_script(const CLI::App& app, const std::string& shell) {
  const std::vector<Command> commands = list_commands(app);
  if (shell == "bash") return bash_script(commands);
  if (shell == "zsh") return zsh_script(commands);
  if (shell == "fish") return fish_script(commands);
  return {};
}

}  // namespace pm
