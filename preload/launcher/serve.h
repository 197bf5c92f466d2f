// `poolmalloc serve`: the statistics of all processes on poolmalloc over HTTP, for Prometheus (/metrics), for people (a
// page with charts at /) and for scripts (/api/processes, /api/process/PID). It only reads: no request changes
// anything.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_SERVE_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_SERVE_H_

#include <string>

#include "preload/launcher/survey.h"

namespace pm {

struct ServeRequest {
  std::string address = "127.0.0.1:10177";
  SurveyRequest survey;
};

// Serves until SIGTERM or SIGINT: 0. If it cannot be done, 1, with one line on stderr.
int serve(const ServeRequest& request);

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_SERVE_H_
