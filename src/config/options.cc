#include "config/options.h"

namespace pm {
namespace {

constexpr char kPrefix[] = "POOLMALLOC_";
constexpr size_t kPrefixLength = sizeof kPrefix - 1;

struct PresetRow {
  char preset[12];
  OptionId option;
  char value[12];
};

constexpr PresetRow kPresetRows[] = {
#define PRESET(preset, option, value) {#preset, OptionId::option, value},
#include "config/presets.def"
#undef PRESET
};

constexpr bool presets_are_known() {
  for (const PresetRow& row : kPresetRows) {
    if (find_word(kOptionInfo[static_cast<size_t>(OptionId::preset)].allowed, row.preset, text_length(row.preset)) <
        0) {
      return false;
    }
  }
  return true;
}
static_assert(presets_are_known(), "presets.def has a preset that options.def does not list");

constexpr char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

constexpr unsigned suffix_shift(char c) {
  switch (upper(c)) {
    case 'K': return 10;
    case 'M': return 20;
    case 'G': return 30;
    case 'T': return 40;
    default: return 0;
  }
}

// Reads a size at `text` and moves `text` behind it. A size too large for 64 bits becomes the largest there is, which
// no range allows.
constexpr bool read_size(const char*& text, uint64_t& value) {
  if (!is_digit(*text)) return false;
  read_decimal(text, value);
  const unsigned shift = suffix_shift(*text);
  if (shift != 0) {
    value = value > (UINT64_MAX >> shift) ? UINT64_MAX : value << shift;
    ++text;
  }
  return true;
}

constexpr bool in_range(uint64_t value, const char* range) {
  uint64_t low = 0;
  uint64_t high = 0;
  read_size(range, low);
  range += 2;  // the dots
  read_size(range, high);
  return value >= low && value <= high;
}

void write_size(uint64_t value, TextWriter& out) {
  unsigned suffix = 0;
  while (suffix < 4 && value != 0 && value % 1024 == 0) {
    value /= 1024;
    ++suffix;
  }
  out.number(value);
  if (suffix != 0) out.character("kmgt"[suffix - 1]);
}

// One `assign` and one `write` for each kind of field; with_field picks by the field's type.

constexpr bool assign(bool& field, const OptionInfo&, const char* value, TextWriter& reason) {
  if ((value[0] != '0' && value[0] != '1') || value[1] != '\0') {
    reason.text("is not 0 or 1");
    return false;
  }
  field = value[0] == '1';
  return true;
}

template <OptionId kId>
constexpr bool assign(Choice<kId>& field, const OptionInfo& info, const char* value, TextWriter& reason) {
  const int index = find_word(info.allowed, value, text_length(value));
  if (index < 0) {
    reason.text("is not one of ");
    for (const char* c = info.allowed; *c != '\0'; ++c) {
      if (*c == '|') {
        reason.text(", ");
      } else {
        reason.character(*c);
      }
    }
    return false;
  }
  field.index = static_cast<uint8_t>(index);
  return true;
}

constexpr bool assign(uint64_t& field, const OptionInfo& info, const char* value, TextWriter& reason) {
  uint64_t size;
  if (!read_size(value, size) || *value != '\0') {
    reason.text("is not a size (a number with an optional k, m, g or t)");
    return false;
  }
  if (!in_range(size, info.allowed)) {
    reason.text("is outside ").text(info.allowed);
    return false;
  }
  field = size;
  return true;
}

constexpr bool assign(SizeList& field, const OptionInfo& info, const char* value, TextWriter& reason) {
  SizeList list = {};
  while (*value != '\0') {
    uint64_t size;
    if (!read_size(value, size) || (*value != ',' && *value != '\0') || (*value == ',' && value[1] == '\0')) {
      reason.text("is not a list of sizes by comma (numbers with an optional k, m, g or t)");
      return false;
    }
    if (!in_range(size, info.allowed)) {
      reason.text("has a size outside ").text(info.allowed);
      return false;
    }
    if (list.count == kMaxListLength) {
      reason.text("has more than ").number(kMaxListLength).text(" sizes");
      return false;
    }
    list.values[list.count++] = static_cast<uint32_t>(size);
    if (*value == ',') ++value;
  }
  field = list;
  return true;
}

constexpr bool assign(RisingList& field, const OptionInfo& info, const char* value, TextWriter& reason) {
  RisingList list = {};
  if (!assign(static_cast<SizeList&>(list), info, value, reason)) return false;
  uint32_t wanted = 1;
  for (const char* c = info.default_text; *c != '\0'; ++c) wanted += *c == ',';
  bool rises = list.count == wanted;
  for (uint32_t i = 1; rises && i < list.count; ++i) rises = list.values[i] > list.values[i - 1];
  if (!rises) {
    reason.text("is not ").number(wanted).text(" rising numbers by comma");
    return false;
  }
  field = list;
  return true;
}

constexpr bool assign(char (&field)[kMaxTextLength + 1], const OptionInfo&, const char* value, TextWriter& reason) {
  const size_t length = text_length(value);
  if (length > kMaxTextLength) {
    reason.text("is longer than ").number(kMaxTextLength).text(" characters");
    return false;
  }
  for (size_t i = 0; i < sizeof field; ++i) field[i] = i < length ? value[i] : '\0';
  return true;
}

void write(bool field, const OptionInfo&, TextWriter& out) { out.character(field ? '1' : '0'); }

template <OptionId kId>
void write(Choice<kId> field, const OptionInfo& info, TextWriter& out) {
  const char* word = info.allowed;
  for (unsigned skip = field.index; skip > 0; ++word) {
    if (*word == '|') --skip;
  }
  while (*word != '\0' && *word != '|') out.character(*word++);
}

void write(uint64_t field, const OptionInfo&, TextWriter& out) { write_size(field, out); }

void write(const SizeList& field, const OptionInfo&, TextWriter& out) {
  for (uint32_t i = 0; i < field.count; ++i) {
    if (i > 0) out.character(',');
    write_size(field.values[i], out);
  }
}

void write(const char (&field)[kMaxTextLength + 1], const OptionInfo&, TextWriter& out) { out.text(field); }

// Calls function(field, info) with the field that belongs to row `index`.
template <class AnyOptions, class Function>
constexpr void with_field(AnyOptions& options, size_t index, Function function) {
  const OptionInfo& info = kOptionInfo[index];
  switch (static_cast<OptionId>(index)) {
#define OPTION(name, kind, default_text, allowed, when, text) \
  case OptionId::name:                                        \
    function(options.name, info);                             \
    break;
#include "config/options.def"
#undef OPTION
  }
}

// A value from the environment inside a line of ours: one line whatever it holds, and not a long one.
void write_given(const char* data, size_t size, TextWriter& out) {
  constexpr size_t kLongest = 80;
  for (size_t i = 0; i < size && i < kLongest; ++i) out.character(data[i] >= ' ' && data[i] != 0x7f ? data[i] : '?');
  if (size > kLongest) out.text("...");
}

// set_option for one variable of the environment: a bad value becomes a line.
void set_from_environment(Options& options, size_t index, const char* value, TextWriter& complaints) {
  char reason_buffer[256];
  TextWriter reason(reason_buffer);
  if (set_option(options, index, value, reason)) return;
  complaints.text("poolmalloc: ");
  write_variable_name(index, complaints);
  complaints.character('=');
  write_given(value, text_length(value), complaints);
  complaints.character(' ').text(reason.data(), reason.size()).text("; using ");
  const size_t before = complaints.total();
  write_option(options, index, complaints);
  if (complaints.total() == before) complaints.text("none");
  complaints.character('\n');
}

constexpr Options make_defaults() {
  Options options = {};
  TextWriter nowhere(nullptr, 0);
  bool accepted = true;
  for (size_t i = 0; i < kOptionCount; ++i) {
    with_field(options, i, [&](auto& field, const OptionInfo& info) {
      accepted = assign(field, info, info.default_text, nowhere) && accepted;
    });
  }
  // No constant expression: a default that is refused does not compile.
  if (!accepted) __builtin_trap();
  return options;
}

void apply_preset(Options& options) {
  TextWriter nowhere(nullptr, 0);
  for (const PresetRow& row : kPresetRows) {
    const char* allowed = kOptionInfo[static_cast<size_t>(OptionId::preset)].allowed;
    if (find_word(allowed, row.preset, text_length(row.preset)) != options.preset.index) continue;
    set_option(options, static_cast<size_t>(row.option), row.value, nowhere);
  }
}

// The option of a variable such as POOLMALLOC_CHECK, without the prefix, or -1. Only upper case is taken.
int find_variable(const char* name, size_t size) {
  for (size_t i = 0; i < kOptionCount; ++i) {
    const char* expected = kOptionInfo[i].name;
    size_t same = 0;
    while (same < size && expected[same] != '\0' && upper(expected[same]) == name[same]) ++same;
    if (same == size && expected[same] == '\0') return static_cast<int>(i);
  }
  return -1;
}

}  // namespace

constinit const Options kDefaultOptions = make_defaults();
constinit Options process_options = make_defaults();

void parse_options(const char* const* environment, bool secure, Options& out, TextWriter& complaints) {
  out = kDefaultOptions;
  if (secure || environment == nullptr) return;

  // One walk collects, since the preset has to come first wherever it stands.
  const char* given[kOptionCount] = {};
  for (; *environment != nullptr; ++environment) {
    const char* variable = *environment;
    size_t length = 0;
    while (length < kPrefixLength && variable[length] == kPrefix[length]) ++length;
    if (length < kPrefixLength) continue;
    while (variable[length] != '\0' && variable[length] != '=') ++length;
    if (variable[length] == '\0') continue;  // without a value it is not a variable
    const int index = find_variable(variable + kPrefixLength, length - kPrefixLength);
    if (index < 0) {
      complaints.text("poolmalloc: ");
      write_given(variable, length, complaints);
      complaints.text(" is not an option; ignored\n");
    } else if (given[index] == nullptr) {
      given[index] = variable + length + 1;
    }
  }

  const auto set_given = [&](size_t index) {
    if (given[index] != nullptr && given[index][0] != '\0') set_from_environment(out, index, given[index], complaints);
  };
  constexpr size_t kPreset = static_cast<size_t>(OptionId::preset);
  set_given(kPreset);
  apply_preset(out);
  for (size_t i = 0; i < kOptionCount; ++i) {
    if (i != kPreset) set_given(i);
  }
}

bool set_option(Options& options, size_t index, const char* value, TextWriter& reason) {
  bool accepted = false;
  with_field(options, index,
             [&](auto& field, const OptionInfo& info) { accepted = assign(field, info, value, reason); });
  return accepted;
}

bool change_option(Options& options, size_t index, const char* value, TextWriter& reason) {
  if (kOptionInfo[index].when == OptionWhen::start) {
    reason.text("can be set at start only");
    return false;
  }
  const bool before = options.huge == "hugetlb";
  Options changed = options;
  if (!set_option(changed, index, value, reason)) return false;
  // Its pages are taken, or not, as the heap is mapped.
  if ((changed.huge == "hugetlb") != before) {
    reason.text("is refused: hugetlb is chosen at start only");
    return false;
  }
  options = changed;
  return true;
}

int find_option(const char* name, size_t size) {
  for (size_t i = 0; i < kOptionCount; ++i) {
    if (text_equal(kOptionInfo[i].name, text_length(kOptionInfo[i].name), name, size)) return static_cast<int>(i);
  }
  return -1;
}

void write_option(const Options& options, size_t index, TextWriter& out) {
  with_field(options, index, [&](const auto& field, const OptionInfo& info) { write(field, info, out); });
}

bool is_default_option(const Options& options, size_t index) {
  // Every value has one shortest form, and the defaults in options.def are written in it.
  char buffer[kMaxTextLength + 1 + kMaxListLength * 8];
  TextWriter value(buffer);
  write_option(options, index, value);
  const char* default_text = kOptionInfo[index].default_text;
  return text_equal(value.data(), value.size(), default_text, text_length(default_text));
}

size_t describe_option(const Options& options, size_t index, char* buffer, size_t size, bool* is_default) {
  TextWriter out(buffer, size);
  write_option(options, index, out);
  out.c_str();
  if (is_default != nullptr) *is_default = is_default_option(options, index);
  return out.total();
}

void write_variable_name(size_t index, TextWriter& out) {
  out.text(kPrefix, kPrefixLength);
  for (const char* c = kOptionInfo[index].name; *c != '\0'; ++c) out.character(upper(*c));
}

}  // namespace pm
