#include "preload/launcher/command_list.h"

#include <CLI/CLI.hpp>
#include <sstream>

namespace pm {
namespace {

// CLI11 tells what CLI::IsMember accepts as a part of the type's name only: "FORMAT:{text,json}".
std::vector<std::string> choices_in(const std::string& type) {
  const size_t begin = type.find('{');
  const size_t end = type.rfind('}');
  std::vector<std::string> choices;
  if (begin == std::string::npos || end == std::string::npos || end < begin) return choices;
  std::istringstream words(type.substr(begin + 1, end - begin - 1));
  for (std::string word; std::getline(words, word, ',');) choices.push_back(word);
  return choices;
}

CommandOption describe(const CLI::Option& option) {
  CommandOption out;
  for (const std::string& name : option.get_snames()) out.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) out.names.push_back("--" + name);
  const std::string type = option.get_type_name();
  if (option.get_expected_max() > 0 && option.get_type_size_max() > 0) out.value = type.substr(0, type.find(':'));
  out.text = option.get_description();
  out.choices = choices_in(type);
  out.required = option.get_required();
  out.several =
      option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll || option.get_items_expected_max() > 1;
  return out;
}

void add(const CLI::App& app, const std::vector<std::string>& path, std::vector<Command>& out) {
  Command command;
  command.path = path;
  command.text = app.get_description();
  // That of the command itself is the list of the library's options, which has a page of its own.
  if (!path.empty()) command.footer = app.get_footer();
  for (const CLI::Option* option : app.get_options([](const CLI::Option*) { return true; })) {
    (option->get_positional() ? command.arguments : command.options).push_back(describe(*option));
  }
  const std::vector<const CLI::App*> below = app.get_subcommands([](const CLI::App*) { return true; });
  for (const CLI::App* sub : below) command.subcommands.push_back(sub->get_name());
  out.push_back(command);
  for (const CLI::App* sub : below) {
    std::vector<std::string> longer = path;
    longer.push_back(sub->get_name());
    add(*sub, longer, out);
  }
}

}  // namespace

std::vector<Command> list_commands(const CLI::App& app) {
  std::vector<Command> commands;
  add(app, {}, commands);
  return commands;
}

std::string full_name(const Command& command) {
  std::string name = "poolmalloc";
  for (const std::string& word : command.path) name += " " + word;
  return name;
}

}  // namespace pm
