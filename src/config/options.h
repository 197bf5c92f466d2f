// The options of the library: a struct with one field for each row of options.def, and the parser that fills it from
// the environment.
//
// Everything here works inside the very first malloc of a process: no allocation, no locks, no getenv, and no table
// that holds pointers, so that nothing waits for relocation. An Options belongs to whoever has it: the one in force is
// the runtime's (runtime/live_options.cc).
#ifndef POOLMALLOC_CONFIG_OPTIONS_H_
#define POOLMALLOC_CONFIG_OPTIONS_H_

#include <cstddef>
#include <cstdint>

#include "base/compiler.h"
#include "base/text.h"

namespace pm {

enum class OptionKind : uint8_t { flag, choice, size, list, rising, text };
// When a value may be given: as the process starts, or while it runs as well.
enum class OptionWhen : uint8_t { start, live };

enum class OptionId : uint8_t {
#define OPTION(name, kind, default_text, allowed, when, text) name,
#include "config/options.def"
#undef OPTION
};

struct OptionInfo {
  char name[24];
  OptionKind kind;
  char default_text[16];
  char allowed[40];
  OptionWhen when;
  char text[256];
};

inline constexpr OptionInfo kOptionInfo[] = {
#define OPTION(name, kind, default_text, allowed, when, text) \
  {#name, OptionKind::kind, default_text, allowed, OptionWhen::when, text},
#include "config/options.def"
#undef OPTION
};
inline constexpr size_t kOptionCount = sizeof kOptionInfo / sizeof kOptionInfo[0];

inline constexpr size_t kMaxListLength = 32;
inline constexpr size_t kMaxTextLength = 255;

// The place of a word in a list such as "off|default", or -1.
constexpr int find_word(const char* words, const char* word, size_t size) {
  int index = 0;
  for (const char* start = words;; ++index) {
    const char* end = start;
    while (*end != '\0' && *end != '|') ++end;
    if (text_equal(start, static_cast<size_t>(end - start), word, size)) return index;
    if (*end == '\0') return -1;
    start = end + 1;
  }
}

// The value of a choice. It is compared with the words of options.def, which the compiler looks up:
//   if (options.huge == "never") ...
// costs one byte's comparison, and a word that is not in the list does not compile.
template <OptionId kId>
struct Choice {
  struct Word {
    consteval Word(const char* word)
        : index(find_word(kOptionInfo[static_cast<size_t>(kId)].allowed, word, text_length(word))) {
      if (index < 0) not_a_word_of_this_option();
    }
    static void not_a_word_of_this_option();  // no constant expression: reaching it is the compile error

    int index;
  };

  constexpr bool operator==(Word word) const { return index == word.index; }

  uint8_t index;
};

struct SizeList {
  uint32_t count;
  uint32_t values[kMaxListLength];
};

// As many numbers as the default has, each larger than the one before.
struct RisingList : SizeList {};

struct Options {
#define PM_FIELD_flag(name) bool name;
#define PM_FIELD_choice(name) Choice<OptionId::name> name;
#define PM_FIELD_size(name) uint64_t name;
#define PM_FIELD_list(name) SizeList name;
#define PM_FIELD_rising(name) RisingList name;
#define PM_FIELD_text(name) char name[kMaxTextLength + 1];
#define OPTION(name, kind, default_text, allowed, when, text) PM_FIELD_##kind(name)
#include "config/options.def"
#undef OPTION
#undef PM_FIELD_flag
#undef PM_FIELD_choice
#undef PM_FIELD_size
#undef PM_FIELD_list
#undef PM_FIELD_rising
#undef PM_FIELD_text
};

extern PM_SHARED const Options kDefaultOptions;

// What is in force in this process: the defaults without any code, until its starter parses the environment.
extern PM_SHARED Options process_options;

// Whether the environment has anything for parse_options to look at.
inline bool mentions_options(const char* const* environment) {
  constexpr char kPrefix[] = "POOLMALLOC_";
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    size_t length = 0;
    while (kPrefix[length] != '\0' && (*environment)[length] == kPrefix[length]) ++length;
    if (kPrefix[length] == '\0') return true;
  }
  return false;
}

// Fills `out`: defaults, then the preset, then what the environment gives by itself. `environment` is the process's
// environ (or null). An empty value counts as not given, and of a variable given twice the first counts, as for getenv.
// An unknown POOLMALLOC_* variable or a bad value is one line on `complaints` and changes nothing. In a `secure`
// process (AT_SECURE: its user is not its owner) the environment is ignored without a word.
void parse_options(const char* const* environment, bool secure, Options& out, TextWriter& complaints);

// Gives one option a value as the user would write it. Returns false for a bad one, leaves the option as it was, and
// says on `reason` what is wrong with it ("is not one of off, default").
bool set_option(Options& options, size_t index, const char* value, TextWriter& reason);

// The same for a process that runs: a bad value, or an option that is read at start only, is refused with its reason
// ("can be set at start only").
bool change_option(Options& options, size_t index, const char* value, TextWriter& reason);

// The index of an option by its name in lower case ("magazine_bytes"), or -1.
int find_option(const char* name, size_t size);

// Writes the value as the user would write it, in its shortest form: 2m, not 2048k.
void write_option(const Options& options, size_t index, TextWriter& out);
bool is_default_option(const Options& options, size_t index);

// write_option for C: cut at `size`, always ended with zero unless `size` is 0. Returns the whole length.
size_t describe_option(const Options& options, size_t index, char* buffer, size_t size, bool* is_default);

// "POOLMALLOC_MAGAZINE_BYTES" for "magazine_bytes".
void write_variable_name(size_t index, TextWriter& out);

}  // namespace pm

#endif  // POOLMALLOC_CONFIG_OPTIONS_H_
