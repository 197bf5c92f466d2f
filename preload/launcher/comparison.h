// What a run of scripts/bench (--json) measured of several allocators: the part that the report shows.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_COMPARISON_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_COMPARISON_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace pm {

// {"title", "date", "machine", "summary": [{"allocator", "rows", "cpu", "wall", "peak", "average"}, ...],
//  "workloads": [{"name", "question", "peak_bytes": {"ALLOCATOR": n, ...}, "cpu_seconds": {...}}, ...]}.
// The summary's numbers are geometric means of the ratio to the best allocator of each workload, null where nothing was
// measured. False if the text is not such a file; `error` says why, to stand after the file's name.
bool read_comparison(std::string_view text, nlohmann::ordered_json& comparison, std::string& error);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_COMPARISON_H_
