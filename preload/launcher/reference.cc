#include "preload/launcher/reference.h"

#include <sstream>
#include <string>
#include <vector>

#include "config/options.h"
#include "metrics/metrics.h"

namespace pm {
namespace {

constexpr size_t kTerminalWidth = 100;

std::string variable_name(size_t index) {
  char buffer[64];
  TextWriter out(buffer);
  write_variable_name(index, out);
  return out.c_str();
}

std::vector<std::string> words_of(const std::string& text, char separator) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, separator);) words.push_back(word);
  return words;
}

std::string join(const std::vector<std::string>& words, const std::string& between, const std::string& quote = "") {
  std::string joined;
  for (const std::string& word : words) joined += (joined.empty() ? "" : between) + quote + word + quote;
  return joined;
}

// What an option may be set to; words stand between `quote`s.
std::string values_of(const OptionInfo& info, const std::string& quote) {
  switch (info.kind) {
    case OptionKind::flag: return quote + "0" + quote + ", " + quote + "1" + quote;
    case OptionKind::choice: return join(words_of(info.allowed, '|'), ", ", quote);
    case OptionKind::size: return std::string("size, ") + info.allowed;
    case OptionKind::list: return std::string("sizes by comma, ") + info.allowed;
    case OptionKind::rising: return std::string("rising numbers by comma, ") + info.allowed;
    case OptionKind::text: return "text";
  }
  return {};
}

// The text in lines of at most kTerminalWidth characters, each after `indent` spaces.
std::string wrapped(const std::string& text, size_t indent) {
  std::string lines;
  std::string line;
  for (const std::string& word : words_of(text, ' ')) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > kTerminalWidth) {
      lines += std::string(indent, ' ') + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return lines + std::string(indent, ' ') + line + "\n";
}

struct Preset {
  std::string name;
  std::vector<std::string> settings;
};

std::vector<Preset> presets() {
  std::vector<Preset> presets;
  const auto add = [&presets](const char* preset, const char* option, const char* value) {
    if (presets.empty() || presets.back().name != preset) presets.push_back({preset, {}});
    presets.back().settings.push_back(std::string(option) + "=" + value);
  };
#define PRESET(preset, option, value) add(#preset, #option, value);
#include "config/presets.def"
#undef PRESET
  return presets;
}

const char* word_for(MetricKind kind) { return kind == MetricKind::counter ? "counter" : "gauge"; }
const char* word_for(MetricUnit unit) {
  return unit == MetricUnit::bytes ? "bytes" : unit == MetricUnit::ns ? "ns" : "count";
}

}  // namespace

std::string options_as_text() {
  std::string text = "Options of the library, as environment variables or by run --set name=value:\n";
  for (size_t i = 0; i < kOptionCount; ++i) {
    const OptionInfo& info = kOptionInfo[i];
    text += "  " + variable_name(i) + "=" + (info.default_text[0] == '\0' ? "none" : info.default_text) + "  (" +
            values_of(info, "") + (info.when == OptionWhen::live ? "; at any time" : "") + ")\n" +
            wrapped(info.text, 6);
  }
  text +=
      "\nA size is a number with an optional k, m, g or t. The values above are the defaults. What is marked \"at any "
      "time\"\n"
      "can be changed while the process runs: poolmalloc set PID name=value.\n\nPresets:\n";
  for (const Preset& preset : presets()) {
    text += "  " + preset.name + std::string(10 - preset.name.size(), ' ') + join(preset.settings, ", ") + "\n";
  }
  return text;
}

std::string options_as_markdown() {
  std::string text = "| Variable | Default | Values | Set | What it does |\n|---|---|---|---|---|\n";
  for (size_t i = 0; i < kOptionCount; ++i) {
    const OptionInfo& info = kOptionInfo[i];
    const std::string default_text = info.default_text[0] == '\0' ? "none" : "`" + std::string(info.default_text) + "`";
    text += "| `" + variable_name(i) + "` | " + default_text + " | " + values_of(info, "`") + " | " +
            (info.when == OptionWhen::live ? "any time" : "at start") + " | " + info.text + " |\n";
  }
  text += "\n| Preset | Sets |\n|---|---|\n";
  for (const Preset& preset : presets()) {
    text += "| `" + preset.name + "` | " + join(preset.settings, ", ", "`") + " |\n";
  }
  return text;
}

std::string metrics_as_text() {
  std::string text = "Metrics, by their names in JSON; in OpenMetrics poolmalloc_<name>, counters with _total:\n";
  const auto add = [&text](const auto& info) {
    text += std::string("  ") + info.name + "  (" + word_for(info.kind) + ", " + word_for(info.unit) + ")\n" +
            wrapped(info.help, 6);
  };
  for (const MetricInfo& info : kMetricInfo) add(info);
  text += "\nFor each size class; in OpenMetrics poolmalloc_class_<name>{class=\"<size>\"}:\n";
  for (const ClassMetricInfo& info : kClassMetricInfo) add(info);
  return text;
}

std::string metrics_as_markdown() {
  std::string text = "| Metric | Kind | Unit | What it is |\n|---|---|---|---|\n";
  const auto add = [&text](const std::string& name, const auto& info) {
    text += "| `" + name + "` | " + word_for(info.kind) + " | " + word_for(info.unit) + " | " + info.help + " |\n";
  };
  for (const MetricInfo& info : kMetricInfo) add(info.name, info);
  for (const ClassMetricInfo& info : kClassMetricInfo) add(std::string("classes[].") + info.name, info);
  return text;
}

}  // namespace pm
