#include "preload/launcher/reference_commands.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "preload/launcher/manual.h"
#include "preload/launcher/output_file.h"
#include "preload/launcher/reference.h"

namespace pm {

ReferenceCommands::ReferenceCommands(CLI::App& app, std::string version, std::string exit_codes)
    : app_(app), version_(std::move(version)), exit_codes_(std::move(exit_codes)) {
  options_ = app.add_subcommand("options", "List the options of the library");
  options_->add_flag("--markdown", markdown_, "As the README's table");
  metrics_ = app.add_subcommand("metrics", "List the metrics in the statistics");
  metrics_->add_flag("--markdown", markdown_, "As the README's table");
  completion_ = app.add_subcommand("completion", "Print what makes a shell complete this command's words");
  completion_->add_option("shell", shell_)->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  manual_ = app.add_subcommand("manual", "Print the manual page of this command, as man -l reads it");
}

std::optional<int> ReferenceCommands::run() const {
  if (options_->parsed()) return print_output(markdown_ ? options_as_markdown() : options_as_text());
  if (metrics_->parsed()) return print_output(markdown_ ? metrics_as_markdown() : metrics_as_text());
  if (completion_->parsed()) return print_output(completion_script(app_, shell_));
  if (manual_->parsed()) return print_output(manual_page(app_, version_, exit_codes_));
  return {};
}

}  // namespace pm
