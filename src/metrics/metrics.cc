#include "metrics/metrics.h"

namespace pm {
namespace {

constexpr bool ends_in_bytes(const char* name) {
  const size_t length = text_length(name);
  return length > 6 && text_equal(name + length - 6, 6, "_bytes", 6);
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
  return ends_in_bytes(info.name) == (info.unit == MetricUnit::bytes);
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

// The three lines before a family's samples, for "poolmalloc_" or "poolmalloc_class_" as `prefix`.
template <class Info>
void write_family(const char* prefix, const Info& info, TextWriter& out) {
  out.text("# TYPE ").text(prefix).text(info.name);
  out.text(info.kind == MetricKind::counter ? " counter\n" : " gauge\n");
  if (info.unit == MetricUnit::bytes) out.text("# UNIT ").text(prefix).text(info.name).text(" bytes\n");
  out.text("# HELP ").text(prefix).text(info.name).character(' ').text(info.help).character('\n');
}

template <class Info>
void write_sample_name(const char* prefix, const Info& info, TextWriter& out) {
  out.text(prefix).text(info.name);
  if (info.kind == MetricKind::counter) out.text("_total");
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

void write_openmetrics(const Snapshot& snapshot, TextWriter& out) {
  out.text("# TYPE poolmalloc_mode info\n# HELP poolmalloc_mode How the magazines are reached.\n");
  out.text("poolmalloc_mode_info{mode=\"").text(snapshot.mode).text("\"} 1\n");
  out.text("# TYPE poolmalloc_fit info\n# HELP poolmalloc_fit Which free extent serves a large request.\n");
  out.text("poolmalloc_fit_info{fit=\"").text(snapshot.fit).text("\"} 1\n");
  for (const MetricInfo& info : kMetricInfo) {
    constexpr char kProcessPrefix[] = "poolmalloc_";
    write_family(kProcessPrefix, info, out);
    write_sample_name(kProcessPrefix, info, out);
    out.character(' ').number(snapshot.*info.value).character('\n');
  }
  for (const ClassMetricInfo& info : kClassMetricInfo) {
    constexpr char kClassPrefix[] = "poolmalloc_class_";
    write_family(kClassPrefix, info, out);
    for (uint32_t i = 0; i < snapshot.class_count; ++i) {
      const Snapshot::ClassRow& row = snapshot.classes[i];
      if (!is_used(row)) continue;
      write_sample_name(kClassPrefix, info, out);
      out.text("{class=\"").number(row.size).text("\"} ").number(row.*info.value).character('\n');
    }
  }
  out.text("# EOF\n");
  out.flush();
}

}  // namespace pm
