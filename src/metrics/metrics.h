// The statistics: a struct with one field for each row of metrics.def, and three ways to write it.
//
// A Snapshot is plain data that its owner fills at leisure; nothing here is shared, allocates or reads a counter. The
// writers are loops over one description table without pointers, so a new row in metrics.def is all a new metric needs.
#ifndef POOLMALLOC_METRICS_METRICS_H_
#define POOLMALLOC_METRICS_METRICS_H_

#include <cstddef>
#include <cstdint>

#include "base/text.h"

namespace pm {

inline constexpr size_t kMaxSnapshotClasses = 128;

// About 9 KiB: too large for the stack of a signal handler or a small thread.
struct Snapshot {
  struct ClassRow {
    uint32_t size;  // of the objects, in bytes
#define CLASS_METRIC(name, kind, unit, help) uint64_t name;
#include "metrics/metrics.def"
  };

#define METRIC(name, kind, unit, help) uint64_t name;
#include "metrics/metrics.def"
  char mode[16];  // as pm_mode(): "rseq", "locked" or "passthrough"
  char fit[8];    // the fit policy, as the option says it; empty in "passthrough"
  uint32_t class_count;
  ClassRow classes[kMaxSnapshotClasses];  // the first class_count, by size
};

enum class MetricKind : uint8_t { gauge, counter };
enum class MetricUnit : uint8_t { count, bytes, ns };

struct MetricInfo {
  char name[28];
  MetricKind kind;
  MetricUnit unit;
  char help[96];
  uint64_t Snapshot::*value;
};

inline constexpr MetricInfo kMetricInfo[] = {
#define METRIC(name, kind, unit, help) {#name, MetricKind::kind, MetricUnit::unit, help, &Snapshot::name},
#include "metrics/metrics.def"
};

struct ClassMetricInfo {
  char name[28];
  MetricKind kind;
  MetricUnit unit;
  char help[96];
  uint64_t Snapshot::ClassRow::*value;
};

inline constexpr ClassMetricInfo kClassMetricInfo[] = {
#define CLASS_METRIC(name, kind, unit, help) \
  {#name, MetricKind::kind, MetricUnit::unit, help, &Snapshot::ClassRow::name},
#include "metrics/metrics.def"
};

// The value of a metric by its name ("committed_bytes"); false for an unknown name.
bool find_metric(const Snapshot& snapshot, const char* name, uint64_t& value);

// For people: grouped, in human units, with a table of the size classes in use.
void write_text(const Snapshot& snapshot, TextWriter& out);
// One object: "mode", "fit", each metric by its name, and "classes", an array with an object for each size class in
// use.
void write_json(const Snapshot& snapshot, TextWriter& out);
// OpenMetrics 1.0, for Prometheus; ends with "# EOF".
void write_openmetrics(const Snapshot& snapshot, TextWriter& out);

// One process of several. `labels` stand in each of its samples: pid="12",program="redis", escaped already; or "".
struct LabelledSnapshot {
  const char* labels;
  const Snapshot* snapshot;
};
// The same for several processes: each family once, with the samples of all of them. Neither "# EOF" nor a flush.
void write_openmetrics_families(const LabelledSnapshot* of, size_t count, TextWriter& out);

}  // namespace pm

#endif  // POOLMALLOC_METRICS_METRICS_H_
