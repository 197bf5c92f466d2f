#include "preload/launcher/profile_pprof.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <stdexcept>

namespace pm {
namespace {

// Writes protobuf's wire format: fields with a number, as variable-length integers or as bytes with their length.
// Fields with the default value, 0 or empty, are left out, as the format has it.
class Message {
 public:
  void number(unsigned field, uint64_t value) {
    if (value == 0) return;
    varint(uint64_t{field} << 3);
    varint(value);
  }
  void number(unsigned field, int64_t value) { number(field, static_cast<uint64_t>(value)); }
  void flag(unsigned field, bool value) { number(field, uint64_t{value}); }

  // Bytes are written even when empty: an entry of a list counts, whatever it holds.
  void bytes(unsigned field, const std::string& value) {
    varint(uint64_t{field} << 3 | 2);
    varint(value.size());
    bytes_ += value;
  }
  void message(unsigned field, const Message& value) { bytes(field, value.bytes_); }

  template <typename Numbers>
  void packed(unsigned field, const Numbers& numbers) {
    Message list;
    for (const auto value : numbers) list.varint(static_cast<uint64_t>(value));
    if (!list.bytes_.empty()) message(field, list);
  }

  const std::string& text() const { return bytes_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_ += static_cast<char>(value | 128);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

// Field numbers of profile.proto, by message.
namespace profile_field {
enum {
  sample_type = 1,
  sample,
  mapping,
  location,
  function,
  string_table,
  time_nanos = 9,
  duration_nanos,
  period_type,
  period,
  comment,
  default_sample_type
};
}
namespace value_type_field {
enum { type = 1, unit };
}
namespace sample_field {
enum { location_id = 1, value, label };
}
namespace label_field {
enum { key = 1, str, num, num_unit };
}
namespace mapping_field {
enum {
  id = 1,
  memory_start,
  memory_limit,
  file_offset,
  filename,
  build_id,
  has_functions,
  has_filenames,
  has_line_numbers,
  has_inline_frames
};
}
namespace location_field {
enum { id = 1, mapping_id, address, line };
}
namespace line_field {
enum { function_id = 1, line };
}
namespace function_field {
enum { id = 1, name, system_name, filename, start_line };
}

struct SampleType {
  const char* name;
  Weight weight;
  Unit unit;
};
constexpr SampleType kSampleTypes[] = {
    {"alloc_objects", Weight::alloc, Unit::objects},         {"alloc_space", Weight::alloc, Unit::bytes},
    {"inuse_objects", Weight::inuse, Unit::objects},         {"inuse_space", Weight::inuse, Unit::bytes},
    {"peak_objects", Weight::peak, Unit::objects},           {"peak_space", Weight::peak, Unit::bytes},
    {"temporary_objects", Weight::temporary, Unit::objects}, {"temporary_space", Weight::temporary, Unit::bytes},
};

// A value too large for the field becomes the largest that it holds.
int64_t rounded(double value) {
  constexpr double kMost = 9.2e18;
  return std::llround(std::clamp(value, -kMost, kMost));
}

class Writer {
 public:
  explicit Writer(const StackProfile& profile) : profile_(profile), mapping_ids_(profile.mappings.size(), 0) {
    strings_.push_back({});
    string_indices_[{}] = 0;
  }

  std::string write() {
    write_types();
    write_mappings();
    for (size_t i = 0; i < profile_.functions.size(); ++i) write_function(i);
    for (size_t i = 0; i < profile_.locations.size(); ++i) write_location(i);
    for (const Stack& stack : profile_.stacks) write_sample(stack);
    write_header();
    for (const std::string& text : strings_) out_.bytes(profile_field::string_table, text);
    return out_.text();
  }

 private:
  int64_t string(const std::string& text) {
    const auto [entry, is_new] = string_indices_.try_emplace(text, static_cast<int64_t>(strings_.size()));
    if (is_new) strings_.push_back(text);
    return entry->second;
  }

  Message value_type(const std::string& type, const std::string& unit) {
    Message message;
    message.number(value_type_field::type, string(type));
    message.number(value_type_field::unit, string(unit));
    return message;
  }

  void write_types() {
    for (const SampleType& type : kSampleTypes) {
      out_.message(profile_field::sample_type, value_type(type.name, type.unit == Unit::bytes ? "bytes" : "count"));
    }
  }

  // Those that a location lies in. The first one is taken for the program itself, so that one comes first.
  void write_mappings() {
    std::vector<bool> used(profile_.mappings.size(), false);
    for (const Location& location : profile_.locations) {
      if (location.mapping != kNoMapping) used[location.mapping] = true;
    }
    const auto write_those = [&](bool of_program) {
      for (size_t i = 0; i < used.size(); ++i) {
        if (used[i] && (profile_.mappings[i].path == profile_.executable) == of_program) write_mapping(i);
      }
    };
    write_those(true);
    write_those(false);
  }

  void write_mapping(size_t index) {
    const ProfileMapping& mapping = profile_.mappings[index];
    // Where no name was found, pprof tries by itself.
    bool known = false, sources = false, lines = false, inlined = false;
    for (const Location& location : profile_.locations) {
      if (location.mapping != index) continue;
      known = known || location.known;
      lines = lines || location.has_lines;
      inlined = inlined || location.lines.size() > 1;
      for (const Line& line : location.lines) sources |= !profile_.functions[line.function].source.empty();
    }
    Message message;
    message.number(mapping_field::id, mapping_ids_[index] = ++last_mapping_id_);
    message.number(mapping_field::memory_start, mapping.start);
    message.number(mapping_field::memory_limit, mapping.end);
    message.number(mapping_field::file_offset, mapping.offset);
    message.number(mapping_field::filename, string(mapping.path));
    message.number(mapping_field::build_id, string(mapping.build_id));
    message.flag(mapping_field::has_functions, known);
    message.flag(mapping_field::has_filenames, sources);
    message.flag(mapping_field::has_line_numbers, lines);
    message.flag(mapping_field::has_inline_frames, inlined);
    out_.message(profile_field::mapping, message);
  }

  void write_function(size_t index) {
    const Function& function = profile_.functions[index];
    Message message;
    message.number(function_field::id, uint64_t{index} + 1);
    message.number(function_field::name, string(function.name));
    message.number(function_field::system_name, string(function.system_name));
    message.number(function_field::filename, string(function.source));
    message.number(function_field::start_line, int64_t{function.start_line});
    out_.message(profile_field::function, message);
  }

  void write_location(size_t index) {
    const Location& location = profile_.locations[index];
    Message message;
    message.number(location_field::id, uint64_t{index} + 1);
    if (location.mapping != kNoMapping) message.number(location_field::mapping_id, mapping_ids_[location.mapping]);
    message.number(location_field::address, location.address);
    for (const Line& line : location.lines) {
      Message line_message;
      line_message.number(line_field::function_id, uint64_t{line.function} + 1);
      line_message.number(line_field::line, int64_t{line.line});
      message.message(location_field::line, line_message);
    }
    out_.message(profile_field::location, message);
  }

  void write_sample(const Stack& stack) {
    std::vector<uint64_t> ids;
    for (uint32_t location : stack.locations) ids.push_back(uint64_t{location} + 1);
    std::vector<int64_t> values;
    for (const SampleType& type : kSampleTypes)
      values.push_back(rounded(stack.amounts[type.weight].in(type.unit).value));
    Message message;
    message.packed(sample_field::location_id, ids);
    message.packed(sample_field::value, values);
    if (stack.object_size != 0) {
      Message label;
      label.number(label_field::key, string("bytes"));
      label.number(label_field::num, stack.object_size);
      label.number(label_field::num_unit, string("bytes"));
      message.message(sample_field::label, label);
    }
    out_.message(profile_field::sample, message);
  }

  void write_header() {
    constexpr int64_t kNanosecondsPerMillisecond = 1'000'000;
    out_.number(profile_field::time_nanos, profile_.taken_ms * kNanosecondsPerMillisecond);
    out_.number(profile_field::duration_nanos,
                std::max<int64_t>(profile_.taken_ms - profile_.started_ms, 0) * kNanosecondsPerMillisecond);
    out_.message(profile_field::period_type, value_type("space", "bytes"));
    out_.number(profile_field::period, profile_.period);
    out_.number(profile_field::default_sample_type, string("inuse_space"));
    std::vector<int64_t> comments = {
        string("process " + std::to_string(profile_.pid) + ": " + profile_.executable),
        string(std::to_string(profile_.dropped) + " samples were dropped"),
    };
    for (const std::string& note : profile_.notes) comments.push_back(string(note));
    out_.packed(profile_field::comment, comments);
  }

  const StackProfile& profile_;
  Message out_;
  std::vector<std::string> strings_;
  std::map<std::string, int64_t> string_indices_;
  std::vector<uint64_t> mapping_ids_;
  uint64_t last_mapping_id_ = 0;
};

std::string gzip(const std::string& text) {
  constexpr int kGzipWindow = 15 + 16;  // zlib's largest window, with a gzip header
  if (text.size() > std::numeric_limits<uInt>::max()) throw std::length_error("the profile is too large for one file");
  z_stream stream = {};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::bad_alloc();
  }
  std::string out(deflateBound(&stream, static_cast<uLong>(text.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END) throw std::runtime_error("the profile cannot be compressed");
  return out;
}

}  // namespace

std::string pprof_message(const StackProfile& profile) { return Writer(profile).write(); }

std::string pprof_file(const StackProfile& profile) { return gzip(pprof_message(profile)); }

}  // namespace pm
