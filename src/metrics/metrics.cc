#include "metrics/metrics.h"

namespace pm {
namespace {

constexpr char kNsEnding[] = "_ns";
constexpr size_t kNsLength = sizeof kNsEnding - 1;

constexpr bool ends_in(const char* name, const char* ending) {
  const size_t length = text_length(name);
  const size_t ending_length = text_length(ending);
  return length > ending_length && text_equal(name + length - ending_length, ending_length, ending, ending_length);
}

// What OpenMetrics asks of names, and what lets the writers go without escapes.
template <class Info>
constexpr bool is_well_formed(const Info& info) {
  for (const char* c = info.name; *c != '\0'; ++c) {
    if ((*c < 'a' || *c > 'z') && *c != '_') return false;
  }
  for (const char* c = info.help; *c != '\0'; ++c) {
    if (*c == '"' || *c == '\\' || *c == '\n') return false;
  }
  return ends_in(info.name, "_bytes") == (info.unit == MetricUnit::bytes) &&
         ends_in(info.name, kNsEnding) == (info.unit == MetricUnit::ns);
}

constexpr bool all_well_formed() {
  for (const MetricInfo& info : kMetricInfo) {
    if (!is_well_formed(info)) return false;
  }
  for (const ClassMetricInfo& info : kClassMetricInfo) {
    if (!is_well_formed(info)) return false;
  }
  return true;
}
static_assert(all_well_formed(), "metrics.def: a name, a unit or a help text breaks the rules at its top");

// A size class is shown once it was used: its counters stay, so it does not vanish again between two reads.
bool is_used(const Snapshot::ClassRow& row) {
  for (const ClassMetricInfo& info : kClassMetricInfo) {
    if (row.*info.value != 0) return true;
  }
  return false;
}

void write_text_line(const char* name, MetricUnit unit, uint64_t value, const char* help, TextWriter& out) {
  char buffer[32];
  TextWriter field(buffer);
  if (unit == MetricUnit::bytes) {
    field.bytes(value);
  } else {
    field.grouped(value);
  }
  out.text("  ").text(name).pad(26).right(field.data(), field.size(), 18).text("  ").text(help).character('\n');
}

void write_text_classes(const Snapshot& snapshot, TextWriter& out) {
  constexpr size_t kSizeWidth = 8;
  constexpr size_t kLeastWidth = 14;
  const auto width = [](const ClassMetricInfo& info) {
    const size_t length = text_length(info.name) + 2;
    return length < kLeastWidth ? kLeastWidth : length;
  };
  out.text("\nSize classes in use\n").right("size", 4, kSizeWidth);
  for (const ClassMetricInfo& info : kClassMetricInfo) out.right(info.name, text_length(info.name), width(info));
  out.character('\n');
  for (uint32_t i = 0; i < snapshot.class_count; ++i) {
    const Snapshot::ClassRow& row = snapshot.classes[i];
    if (!is_used(row)) continue;
    const auto cell = [&out](uint64_t value, size_t cell_width) {
      char buffer[32];
      TextWriter field(buffer);
      field.number(value);
      out.right(field.data(), field.size(), cell_width);
    };
    cell(row.size, kSizeWidth);
    for (const ClassMetricInfo& info : kClassMetricInfo) cell(row.*info.value, width(info));
    out.character('\n');
  }
}

// The name of the family: OpenMetrics knows seconds alone.
template <class Info>
void write_family_name(const char* prefix, const Info& info, TextWriter& out) {
  out.text(prefix);
  if (info.unit == MetricUnit::ns) {
    out.text(info.name, text_length(info.name) - kNsLength).text("_seconds");
  } else {
    out.text(info.name);
  }
}

// The three lines before a family's samples, for "poolmalloc_" or "poolmalloc_class_" as `prefix`.
template <class Info>
void write_family(const char* prefix, const Info& info, TextWriter& out) {
  out.text("# TYPE ");
  write_family_name(prefix, info, out);
  out.text(info.kind == MetricKind::counter ? " counter\n" : " gauge\n");
  if (info.unit != MetricUnit::count) {
    out.text("# UNIT ");
    write_family_name(prefix, info, out);
    out.text(info.unit == MetricUnit::bytes ? " bytes\n" : " seconds\n");
  }
  out.text("# HELP ");
  write_family_name(prefix, info, out);
  out.character(' ').text(info.help).character('\n');
}

template <class Info>
void write_sample_name(const char* prefix, const Info& info, TextWriter& out) {
  write_family_name(prefix, info, out);
  if (info.kind == MetricKind::counter) out.text("_total");
}

void write_sample_value(MetricUnit unit, uint64_t value, TextWriter& out) {
  constexpr uint64_t kSecond = 1'000'000'000;
  out.character(' ').number(unit == MetricUnit::ns ? value / kSecond : value);
  if (unit == MetricUnit::ns) {
    out.character('.');
    for (uint64_t place = kSecond / 10; place != 0; place /= 10) out.number(value / place % 10);
  }
  out.character('\n');
}

// The process's own labels, then name="value". Of either there may be none.
void write_labels(const char* labels, const char* name, const char* value, TextWriter& out) {
  const bool has_labels = labels[0] != '\0';
  const bool has_name = name[0] != '\0';
  if (!has_labels && !has_name) return;
  out.character('{').text(labels);
  if (has_labels && has_name) out.character(',');
  if (has_name) out.text(name).text("=\"").text(value).character('"');
  out.character('}');
}

void write_info(const char* name, const char* labels, const char* label, const char* value, TextWriter& out) {
  out.text(name);
  write_labels(labels, label, value, out);
  out.text(" 1\n");
}

void write_class_samples(const char* prefix, const ClassMetricInfo& info, const LabelledSnapshot& of, TextWriter& out) {
  for (uint32_t i = 0; i < of.snapshot->class_count; ++i) {
    const Snapshot::ClassRow& row = of.snapshot->classes[i];
    if (!is_used(row)) continue;
    char size[16];
    TextWriter digits(size);
    digits.number(row.size);
    write_sample_name(prefix, info, out);
    write_labels(of.labels, "class", digits.c_str(), out);
    write_sample_value(info.unit, row.*info.value, out);
  }
}

}  // namespace

bool find_metric(const Snapshot& snapshot, const char* name, uint64_t& value) {
  for (const MetricInfo& info : kMetricInfo) {
    if (!text_equal(info.name, name)) continue;
    value = snapshot.*info.value;
    return true;
  }
  return false;
}

void write_text(const Snapshot& snapshot, TextWriter& out) {
  out.text("poolmalloc statistics (mode: ").text(snapshot.mode).text(", fit: ").text(snapshot.fit).text(")\n");
  // The list itself rather than kMetricInfo, because the titles stand between its rows.
#define GROUP(title) out.text("\n" title "\n");
#define METRIC(name, kind, unit, help) write_text_line(#name, MetricUnit::unit, snapshot.name, help, out);
#include "metrics/metrics.def"
  write_text_classes(snapshot, out);
  out.flush();
}

void write_json(const Snapshot& snapshot, TextWriter& out) {
  out.text("{\n  \"mode\": \"").text(snapshot.mode).text("\",\n  \"fit\": \"").text(snapshot.fit).text("\"");
  for (const MetricInfo& info : kMetricInfo) {
    out.text(",\n  \"").text(info.name).text("\": ").number(snapshot.*info.value);
  }
  out.text(",\n  \"classes\": [");
  bool first = true;
  for (uint32_t i = 0; i < snapshot.class_count; ++i) {
    const Snapshot::ClassRow& row = snapshot.classes[i];
    if (!is_used(row)) continue;
    out.text(first ? "\n" : ",\n").text("    {\"size\": ").number(row.size);
    for (const ClassMetricInfo& info : kClassMetricInfo) {
      out.text(", \"").text(info.name).text("\": ").number(row.*info.value);
    }
    out.character('}');
    first = false;
  }
  out.text(first ? "]\n}\n" : "\n  ]\n}\n");
  out.flush();
}

void write_openmetrics_families(const LabelledSnapshot* of, size_t count, TextWriter& out) {
  constexpr char kPrefix[] = "poolmalloc_";
  constexpr char kClassPrefix[] = "poolmalloc_class_";
  const LabelledSnapshot* const end = of + count;
  out.text("# TYPE poolmalloc_mode info\n# HELP poolmalloc_mode How the magazines are reached.\n");
  for (const LabelledSnapshot* one = of; one != end; ++one) {
    write_info("poolmalloc_mode_info", one->labels, "mode", one->snapshot->mode, out);
  }
  out.text("# TYPE poolmalloc_fit info\n# HELP poolmalloc_fit Which free extent serves a large request.\n");
  for (const LabelledSnapshot* one = of; one != end; ++one) {
    write_info("poolmalloc_fit_info", one->labels, "fit", one->snapshot->fit, out);
  }
  for (const MetricInfo& info : kMetricInfo) {
    write_family(kPrefix, info, out);
    for (const LabelledSnapshot* one = of; one != end; ++one) {
      write_sample_name(kPrefix, info, out);
      write_labels(one->labels, "", "", out);
      write_sample_value(info.unit, one->snapshot->*info.value, out);
    }
  }
  for (const ClassMetricInfo& info : kClassMetricInfo) {
    write_family(kClassPrefix, info, out);
    for (const LabelledSnapshot* one = of; one != end; ++one) write_class_samples(kClassPrefix, info, *one, out);
  }
}

void write_openmetrics(const Snapshot& snapshot, TextWriter& out) {
  const LabelledSnapshot one = {"", &snapshot};
  write_openmetrics_families(&one, 1, out);
  out.text("# EOF\n");
  out.flush();
}

}  // namespace pm
