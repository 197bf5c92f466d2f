// The public C API (include/poolmalloc/poolmalloc.h) and the report at exit.
#include <cerrno>
#include <cstring>

#include "heap/heap.h"
#include "metrics/events.h"
#include "os/process.h"
#include "page/collapse.h"
#include "poolmalloc/poolmalloc.h"
#include "reclaim/executor.h"
#include "runtime/live_options.h"
#include "runtime/runtime.h"

#define PM_API extern "C" __attribute__((visibility("default")))

namespace pm {
namespace {

struct Destination {
  int fd;
  long error;
};

void write_to(void* context, const char* data, size_t size) {
  auto* destination = static_cast<Destination*>(context);
  if (destination->error == 0) destination->error = os::write_all(destination->fd, data, size);
}

long write_statistics(int fd, pm_format format) {
  char buffer[4096];
  Destination destination = {fd, 0};
  TextWriter out(buffer, write_to, &destination);
  // On the stack (9 KiB): a shared one would need a lock, held while the write stalls, or by nobody in a forked child.
  Snapshot snapshot;
  collect(snapshot);
  switch (format) {
    case PM_FORMAT_TEXT: write_text(snapshot, out); break;
    case PM_FORMAT_JSON: write_json(snapshot, out); break;
    case PM_FORMAT_OPENMETRICS: write_openmetrics(snapshot, out); break;
  }
  out.flush();
  return destination.error;
}

// Where the report goes without a file: a copy of stderr made at start, because many programs close theirs at exit.
int kept_stderr = 2;

int open_report() {
  if (options().stats_file[0] == 0) return kept_stderr;
  char path[kMaxTextLength + 32];
  TextWriter out(path);
  expand_path(options().stats_file, out);
  const int fd = os::create_file(out.c_str());
  if (fd >= 0) return fd;
  char line[kMaxTextLength + 96];
  TextWriter complaint(line);
  complaint.text("poolmalloc: cannot write ").text(path).text("; the statistics follow here\n");
  os::write_all(kept_stderr, complaint.data(), complaint.size());
  return kept_stderr;
}

}  // namespace

void expand_path(const char* pattern, TextWriter& out) {
  for (const char* p = pattern; *p != 0; ++p) {
    if (p[0] == '%' && p[1] == 'p') {
      out.number(static_cast<unsigned>(os::process_id()));
      ++p;
    } else {
      out.character(*p);
    }
  }
}

int report_file() { return kept_stderr; }

PM_START void report_at_exit() {
  Options o;
  options_now(o);
  if (o.stats == "0" || os::is_secure() || serving() == Serving::not_started) return;
  const int fd = open_report();
  write_statistics(fd, o.stats == "json"          ? PM_FORMAT_JSON
                       : o.stats == "openmetrics" ? PM_FORMAT_OPENMETRICS
                                                  : PM_FORMAT_TEXT);
  if (fd != kept_stderr) os::close_file(fd);
}

PM_START void prepare_report() {
  const bool any = !(options().stats == "0") || options().profile != 0;
  if (!any || os::is_secure()) return;
  const int copy = os::keep_file(2);
  if (copy >= 0) kept_stderr = copy;
}

}  // namespace pm

PM_API const char* pm_version(void) { return POOLMALLOC_VERSION; }

PM_API const char* pm_mode(void) {
  if (!pm::start_heap()) return "passthrough";
  return pm::magazine_mode() == pm::MagazineMode::rseq ? "rseq" : "locked";
}

PM_API size_t pm_trim(size_t goal) {
  const size_t given = pm::trim_heap(goal);
  pm::count_released(pm::Reason::requested, given);
  pm::record_event(pm::EventKind::trim, given);
  return given;
}

PM_API size_t pm_collapse(unsigned milliseconds) {
  if (pm::heap_view.small_limit == 0) return 0;
  return pm::page_collapse({.blocks = UINT32_MAX, .nanoseconds = uint64_t{milliseconds} * 1'000'000, .at_once = true});
}

PM_API int pm_stats_write(int fd, enum pm_format format) {
  if (format != PM_FORMAT_TEXT && format != PM_FORMAT_JSON && format != PM_FORMAT_OPENMETRICS) {
    errno = EINVAL;
    return -1;
  }
  pm::start_heap();
  const long error = pm::write_statistics(fd, format);
  if (error == 0) return 0;
  errno = static_cast<int>(-error);
  return -1;
}

PM_API int pm_metric_get(const char* name, unsigned long long* value) {
  pm::start_heap();
  pm::Snapshot snapshot;
  pm::collect(snapshot);
  uint64_t found = 0;
  if (!pm::find_metric(snapshot, name, found)) {
    errno = ENOENT;
    return -1;
  }
  *value = found;
  return 0;
}

PM_API int pm_option_set(const char* name, const char* value) {
  pm::TextWriter nowhere(nullptr, 0);
  const long error = pm::change_option_now(name, strlen(name), value, nowhere);
  if (error == 0) return 0;
  errno = static_cast<int>(-error);
  return -1;
}

PM_API int pm_option_get(const char* name, char* buffer, size_t size, int* is_default) {
  pm::start_heap();
  const int index = pm::find_option(name, strlen(name));
  if (index < 0) {
    errno = ENOENT;
    return -1;
  }
  bool untouched = false;
  pm::Options now;
  pm::options_now(now);
  const size_t length = pm::describe_option(now, static_cast<size_t>(index), buffer, size, &untouched);
  if (is_default != nullptr) *is_default = untouched ? 1 : 0;
  return static_cast<int>(length);
}
