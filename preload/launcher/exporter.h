// The survey as text for Prometheus: every metric of metrics.def for every process, and what the server knows of them.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_EXPORTER_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_EXPORTER_H_

#include <cstdint>
#include <string>

#include "preload/launcher/survey.h"

namespace pm {

inline constexpr char kOpenMetricsType[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";
inline constexpr char kPlainMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";

// OpenMetrics 1.0. `scrapes`: how many came before, this one included; `max_mappings`: the kernel's, 0 if unknown.
std::string openmetrics_of(const Survey& survey, uint64_t scrapes, uint64_t max_mappings);

// The same in the older text format, for who does not know OpenMetrics: counters are called what their samples are.
std::string plain_metrics(const std::string& openmetrics);

// Which of the two a client wants by its Accept header. Browsers show the older one and would save the other.
bool wants_openmetrics(const std::string& accept);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_EXPORTER_H_
