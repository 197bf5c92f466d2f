// The files that the command carries inside, as embed.py made them.
#ifndef POOLMALLOC_PRELOAD_LAUNCHER_EMBEDDED_H_
#define POOLMALLOC_PRELOAD_LAUNCHER_EMBEDDED_H_

namespace pm {

extern const char kServePage[];    // web/serve.html
extern const char kReportPage[];   // web/report.html
extern const char kUplotScript[];  // web/uplot: the chart library of the pages, version 1.6.32 of the npm package uplot
extern const char kUplotStyle[];
extern const char kUplotLicence[];
extern const char kAlertRules[];  // fleet/rules.yml
extern const char kDashboard[];   // fleet/dashboard.json

}  // namespace pm

#endif  // POOLMALLOC_PRELOAD_LAUNCHER_EMBEDDED_H_
