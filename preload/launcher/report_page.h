// The report as one page of HTML that needs nothing else: no network when it is opened, and no script for its tables.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_REPORT_PAGE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_REPORT_PAGE_H_

#include <nlohmann/json.hpp>
#include <string>

namespace pm {

// From report_json (report_data.h), with "profile" (flame.h) and "comparison" (comparison.h) where there is one.
// Whatever a process or a function calls itself stays text.
std::string report_page(const nlohmann::ordered_json& data);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_REPORT_PAGE_H_
