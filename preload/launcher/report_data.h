// Everything that a report shows, as one JSON object: what --json prints, what the page's tables are written from, and
// what its charts are drawn from.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_REPORT_DATA_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_REPORT_DATA_H_

#include <nlohmann/json.hpp>
#include <string>

#include "preload/launcher/recording.h"

namespace pm {

// A chart has no more dots than this across.
inline constexpr size_t kMostPoints = 1200;
inline constexpr size_t kMostColumns = 160;  // of the heat map

// "process": as in Recording::about. "recording": "from_ms", "to_ms", "every_ms", "samples", "end".
// "health": "points", "deductions" [{"points", "why"}].
// "timeline": a list of numbers for each of "time_ms" and some metrics, all of one length.
// "classes_over_time": "time_ms", and "classes" [{"size", "live_bytes": [...], "occupied_permille": [...]}], size 0
// being the large objects, which have no occupancy. "events", "findings", "advice" (with "variable"), "resident" and
// "resident_bytes": as recorded. "statistics": the last sample's, as `stats --format json` prints them.
nlohmann::ordered_json report_json(const Recording& recording);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_REPORT_DATA_H_
