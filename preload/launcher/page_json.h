// Parts of the statistics page as JSON, for every command that prints or keeps them.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_PAGE_JSON_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_PAGE_JSON_H_

#include <nlohmann/json.hpp>

#include "metrics/page.h"

namespace pm {

// {"time_ms", "kind", "bytes"}, with "reason" or "from" and "to" where the kind has them. The time is since 1970; of
// an event that only says how long it lay before the page was written.
nlohmann::ordered_json event_json(const PageStamp& stamp, const Event& event);
nlohmann::ordered_json events_json(const PageBody& body);

// The options that differ from their defaults: {"name": "value"}.
nlohmann::ordered_json options_json(const PageBody& body);

// The whole snapshot, as `poolmalloc stats --format json` prints it.
nlohmann::ordered_json statistics_json(const Snapshot& snapshot);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_PAGE_JSON_H_
