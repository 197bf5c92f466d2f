// What `poolmalloc serve` answers to scripts and to its own page.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SERVE_JSON_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SERVE_JSON_H_

#include <string>

#include "preload/launcher/survey.h"

namespace pm {

// {"time_ms", "forbidden", "left_out", "seconds", "processes": [...]}, each process with the figures of an overview.
std::string processes_json(const Survey& survey);
// Everything that one process publishes; process.page is not null.
std::string process_json(const SurveyedProcess& process);
// {"error": "..."}
std::string error_json(const std::string& text);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SERVE_JSON_H_
