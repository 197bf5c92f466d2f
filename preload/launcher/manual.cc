#include "preload/launcher/manual.h"

#include "preload/launcher/command_list.h"

namespace pm {
namespace {

// Text as roff takes it: no escape, no request at the start of a line, and hyphens that can be copied into a shell.
std::string roff(std::string text) {
  const std::string plus_minus = "\u00b1";
  for (size_t at = 0; (at = text.find(plus_minus, at)) != std::string::npos;)
    text.replace(at, plus_minus.size(), "\x01");
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '\x01') {
      out += "\\(+-";  // not of every character set
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    line_start = c == '\n';
  }
  return out;
}

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

std::string bold(const std::string& text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + roff(text) + "\\fR"; }

std::string value_of(const CommandOption& option) {
  return option.choices.empty() ? italic(option.value) : roff(joined(option.choices, "|"));
}

std::string synopsis(const Command& command) {
  std::string line = bold(full_name(command));
  bool has_options = false;
  for (const CommandOption& option : command.options) has_options |= option.names.back() != "--help";
  if (has_options) line += " [" + italic("options") + "]";
  for (const CommandOption& argument : command.arguments) {
    const std::string name = value_of(argument) + (argument.several ? "..." : "");
    line += argument.required ? " " + name : " [" + name + "]";
  }
  if (command.path == std::vector<std::string>{"run"})
    line += " [--] " + italic("program") + " [" + italic("arguments") + "]";
  return line;
}

std::string items(const std::vector<CommandOption>& options) {
  std::string text;
  for (const CommandOption& option : options) {
    if (!option.names.empty() && option.names.back() == "--help") continue;
    std::vector<std::string> names;
    for (const std::string& name : option.names) names.push_back(bold(name));
    std::string head = joined(names, ", ");
    if (!option.value.empty()) head += (head.empty() ? "" : " ") + value_of(option);
    text += ".TP\n" + head + "\n" + roff(option.text) + (option.text.empty() || option.text.back() == '.' ? "" : ".") +
            "\n";
  }
  return text;
}

std::string section(const Command& command) {
  std::string text = ".SS " + synopsis(command) + "\n" + roff(command.text) + ".\n";
  text += items(command.arguments) + items(command.options);
  if (!command.footer.empty()) text += ".PP\n.nf\n" + roff(command.footer) + "\n.fi\n";
  return text;
}

}  // namespace

std::string manual_page(const CLI::App& app, const std::string& version, const std::string& exit_codes) {
  const std::vector<Command> commands = list_commands(app);
  std::string text =
      ".\\\" Written by poolmalloc manual.\n.TH POOLMALLOC 1 \"\" \"" + roff(version) + "\" \"User Commands\"\n.nh\n";
  text += ".SH NAME\npoolmalloc \\- run programs on the poolmalloc allocator, and see what it does\n.SH SYNOPSIS\n";
  for (const Command& command : commands) {
    if (command.path.empty() || !command.subcommands.empty()) continue;
    text += synopsis(command) + "\n.br\n";
  }
  text +=
      ".SH DESCRIPTION\n"
      "poolmalloc is a malloc for Linux that is preloaded under programs that cannot be rebuilt; see\n"
      ".BR libpoolmalloc (3).\n"
      "This command runs programs on it, shows what it does in processes that run, and changes that.\n"
      "It looks at the caller's own processes only, and stops none of them.\n";
  text += ".SH COMMANDS\n";
  for (const Command& command : commands) {
    if (!command.path.empty()) text += section(command);
  }
  text += ".SH OPTIONS\n" + items(commands.front().options) + ".TP\n" + bold("-h") + ", " + bold("--help") +
          "\nPrint help; each subcommand has its own.\n";
  text += ".SH EXIT STATUS\n.nf\n" + roff(exit_codes) + ".fi\n";
  text +=
      ".SH ENVIRONMENT\nThe options of the library are environment variables, which\n.B poolmalloc run "
      "\\-\\-set\nsets; "
      "see\n.BR libpoolmalloc (3).\n.SH SEE ALSO\n.BR libpoolmalloc (3),\n.BR malloc (3),\n.BR ld.so (8)\n";
  return text;
}

}  // namespace pm
