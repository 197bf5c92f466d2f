// The tables of options, presets and metrics for people, made from the lists that the library itself is made of.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_REFERENCE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_REFERENCE_H_

#include <string>

namespace pm {

// For a terminal: each option with its values, its default and what it does.
std::string options_as_text();
// For the README: the same as a Markdown table, and the presets as a second one.
std::string options_as_markdown();

std::string metrics_as_text();
std::string metrics_as_markdown();

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_REFERENCE_H_
