// The heap profile's place in the process: its options, the public functions, and what is written at exit.
#include <dlfcn.h>

#include <cerrno>

#include "base/largest.h"
#include "heap/heap.h"
#include "os/files.h"
#include "os/mapped_file.h"
#include "os/process.h"
#include "poolmalloc/poolmalloc.h"
#include "profile/dump.h"
#include "runtime/runtime.h"

#define PM_API extern "C" __attribute__((visibility("default")))

namespace pm {
namespace {

void write_report(void*, const char* data, size_t size) { os::write_all(report_file(), data, size); }

void complain(const char* what, const char* path) {
  char line[kMaxTextLength + 96];
  TextWriter out(line);
  out.text("poolmalloc: ").text(what).text(path).text("\n");
  os::write_all(report_file(), out.data(), out.size());
}

void write_file(const char* pattern) {
  char path[kMaxTextLength + 32];
  TextWriter out(path);
  expand_path(pattern, out);
  const int fd = os::create_file(out.c_str());
  if (fd < 0) return complain("cannot write the heap profile to ", path);
  const long error = profile_dump(fd);
  const bool regular = os::files().identify(nullptr, fd).kind == os::FileKind::regular;
  os::close_file(fd);
  if (error == 0) return;
  // Half a profile is none; but a device stays.
  if (regular) os::remove_file(path);
  complain("cannot write the heap profile, the disk may be full: ", path);
}

// The sites that hold most, the largest first.
struct Leaks {
  static constexpr unsigned kShown = 20;
  struct Row {
    const Site* site;
    uint64_t bytes;
    uint64_t samples;
  };
  uint64_t bytes = 0;
  uint64_t sites = 0;
  Largest<Row, kShown> rows;

  void add(const Site& site, const SiteCounts& counts) {
    if (counts.live == 0) return;
    ++sites;
    bytes += counts.live_weight;
    rows.offer({&site, counts.live_weight, counts.live}, counts.live_weight);
  }
  static void add_to(void* context, const Site& site, const SiteCounts& counts) {
    static_cast<Leaks*>(context)->add(site, counts);
  }
};

void frame_text(TextWriter& out, uintptr_t address) {
  out.text("    ").hex(address);
  Dl_info info;
  // The return address may belong to the next function already.
  if (dladdr(reinterpret_cast<const void*>(address - 1), &info) == 0) {
    out.character('\n');
    return;
  }
  if (info.dli_sname != nullptr) {
    out.character(' ').text(info.dli_sname).character('+').hex(address - address_of(info.dli_saddr));
  }
  if (info.dli_fname != nullptr) out.text(" (").text(info.dli_fname).character(')');
  out.character('\n');
}

void write_leaks() {
  constexpr unsigned kFrames = 16;
  Leaks leaks;
  if (profile_each_site(Leaks::add_to, &leaks) != 0) return;
  char buffer[2048];
  TextWriter out(buffer, write_report);
  if (leaks.sites == 0) {
    out.text("poolmalloc: nothing that the heap profile saw is left\n");
    out.flush();
    return;
  }
  out.text("poolmalloc: at exit about ").bytes(leaks.bytes).text(" from ").number(leaks.sites);
  out.text(leaks.sites == 1 ? " call site was not freed" : " call sites were not freed");
  out.text(":\n");
  for (unsigned i = 0; i < leaks.rows.count(); ++i) {
    const Leaks::Row& row = leaks.rows[i];
    out.text("  about ").bytes(row.bytes).text(" in ").number(row.samples).text(" samples, allocated by\n");
    const uintptr_t* const stack = site_stack(*row.site);
    for (unsigned f = 0; f < row.site->depth && f < kFrames; ++f) frame_text(out, stack[f]);
  }
  out.flush();
}

int result_of(long error) {
  if (error == 0) return 0;
  errno = static_cast<int>(-error);
  return -1;
}

}  // namespace

PM_START void start_profile() {
  if (options().profile == 0 || !start_heap()) return;
  if (profile_start(options().profile) != 0) complain("no memory for the heap profile's tables", "");
}

PM_START void write_profile_at_exit() {
  const Options& o = options();
  if (os::is_secure() || !profile_exists.load(std::memory_order_acquire)) return;
  if (o.profile_file[0] != 0) write_file(o.profile_file);
  if (o.profile_leaks) write_leaks();
}

}  // namespace pm

PM_API int pm_profile_start(size_t period_bytes) {
  if (!pm::start_heap()) return pm::result_of(-ENOTSUP);
  return pm::result_of(pm::profile_start(period_bytes));
}

PM_API int pm_profile_stop(void) { return pm::result_of(pm::profile_stop()); }

PM_API int pm_profile_dump(int fd) { return pm::result_of(pm::profile_dump(fd)); }
