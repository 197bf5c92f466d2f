// The findings of doctor, one small function for each thing that is looked at.
#include <algorithm>
#include <cstring>

#include "config/options.h"
#include "preload/launcher/doctor.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Findings = std::vector<Finding>;

void fine(Findings& out, std::string about, std::string what) {
  out.push_back({Severity::fine, std::move(about), std::move(what), {}});
}

// The machine.

bool is_at_least(const MachineFacts& machine, int major, int minor) {
  return machine.kernel_major > major || (machine.kernel_major == major && machine.kernel_minor >= minor);
}

void examine_kernel(const MachineFacts& m, Findings& out) {
  struct Feature {
    int major, minor;
    const char* name;
    const char* loss;
  };
  constexpr Feature kFeatures[] = {
      {4, 18, "restartable sequences",
       "magazines are reached by a lock, which makes malloc and free several times dearer"},
      {5, 9, "a table of files of the worker's own", "the worker's files are visible among the program's"},
      {5, 10, "process_madvise", "memory is given back with a system call for each range"},
      {5, 14, "populate-write advice", "no prefault, and pages of hugetlbfs are touched one by one"},
      {6, 1, "collapse into huge pages", "no dense memory is put on huge pages while in use"},
  };
  if (m.kernel_major == 0) return;
  std::string lost;
  for (const Feature& feature : kFeatures) {
    if (is_at_least(m, feature.major, feature.minor)) continue;
    lost += (lost.empty() ? "" : "; ") + std::string("no ") + feature.name + " (Linux " +
            std::to_string(feature.major) + "." + std::to_string(feature.minor) + "): " + feature.loss;
  }
  if (lost.empty()) return fine(out, "kernel", "Linux " + m.kernel + " has all that is used");
  const bool slow = !is_at_least(m, 4, 18);
  out.push_back(
      {slow ? Severity::problem : Severity::note, "kernel", "Linux " + m.kernel + ": " + lost, "A newer kernel."});
}

void examine_overcommit(const MachineFacts& m, Findings& out) {
  if (!m.overcommit_memory) return;
  if (*m.overcommit_memory != 2)
    return fine(out, "overcommit", "vm.overcommit_memory is " + std::to_string(*m.overcommit_memory));
  out.push_back(
      {Severity::warning, "overcommit",
       "vm.overcommit_memory is 2: the kernel refuses memory beyond swap and a share of RAM, mapped or not",
       "sysctl vm.overcommit_memory=0, unless the refusals are wanted. The heap maps only what it uses, so it "
       "works either way."});
}

void examine_huge_pages(const MachineFacts& m, Findings& out) {
  if (m.huge_pages == "madvise") return fine(out, "huge pages", "by advice (madvise), as the library likes it");
  if (m.huge_pages == "always") {
    out.push_back(
        {Severity::note, "huge pages",
         "The kernel's mode is always: it makes huge pages of thread stacks and of every mapping, wanted or not",
         "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"});
  } else if (m.huge_pages == "never") {
    out.push_back({Severity::note, "huge pages",
                   "The kernel's mode is never: no huge page is to be had by advice; only collapse may still work",
                   "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"});
  } else {
    out.push_back({Severity::note, "huge pages", "This kernel has no transparent huge pages", {}});
  }
}

void examine_pressure_sensors(const MachineFacts& m, Findings& out) {
  if (m.pressure_stalls) return fine(out, "stalls", "/proc/pressure/memory is there");
  out.push_back(
      {Severity::note, "stalls",
       "No /proc/pressure: memory stalls cannot be seen. The forecast does not need them; they are a backstop",
       "A kernel with CONFIG_PSI, booted with psi=1."});
}

void examine_memory(const MachineFacts& m, Findings& out) {
  if (!m.total_bytes || !m.available_bytes) return;
  const std::string what =
      bytes_text(*m.available_bytes) + " of " + bytes_text(*m.total_bytes) + " are available, " +
      (m.swap_bytes.value_or(0) == 0 ? "without swap" : "with " + bytes_text(*m.swap_bytes) + " of swap");
  if (*m.available_bytes >= *m.total_bytes / 20) return fine(out, "memory", what);
  out.push_back({Severity::problem, "memory", what + ": the machine itself is about to run out",
                 "Find who has it (poolmalloc ps shows those on poolmalloc), or give the machine more."});
}

// The process.

void examine_variables(const ProcessFacts& p, Findings& out) {
  Options options;
  char quiet[16];
  TextWriter ignored(quiet);
  parse_options(nullptr, false, options, ignored);
  for (const auto& [name, value] : p.variables) {
    const std::string entry = name + "=" + value;
    const char* const environment[] = {entry.c_str(), nullptr};
    char text[512];
    TextWriter complaints(text);
    parse_options(environment, false, options, complaints);
    std::string complaint = complaints.c_str();
    if (complaint.empty()) continue;
    while (!complaint.empty() && complaint.back() == '\n') complaint.pop_back();
    out.push_back({Severity::warning, "environment", printable(complaint) + ": it has no effect",
                   "poolmalloc options lists the names and values."});
  }
}

void examine_rivals(const ProcessFacts& p, const PageBody* page, Findings& out) {
  for (const std::string& path : p.other_allocators) {
    out.push_back(
        {Severity::note, "other allocator",
         printable(path) + " is mapped as well; who comes first in the order of the libraries serves malloc",
         "Harmless if the program calls it by names of its own; else take it out of LD_PRELOAD or the link line."});
  }
  if (page == nullptr || page->snapshot.foreign_frees == 0) return;
  out.push_back(
      {Severity::warning, "foreign memory",
       grouped_text(page->snapshot.foreign_frees) +
           " frees were of memory that another allocator gave; they were handed to the C library",
       "The usual cause is dlopen with RTLD_DEEPBIND or a plugin with an allocator of its own; the first such "
       "free named the library on stderr. POOLMALLOC_DEEPBIND=clear (the default) cures the former."});
}

void examine_mode(const ProcessFacts& p, const PageBody* page, Findings& out) {
  if (page == nullptr) return;
  const std::string mode = page->snapshot.mode;
  if (mode == "rseq") return fine(out, "magazines", "reached by restartable sequences");
  if (mode == "passthrough") {
    out.push_back({Severity::problem, "magazines", "The C library's allocator serves this process",
                   "POOLMALLOC_ENABLED=0, Valgrind or a sanitizer does that; start it without."});
    return;
  }
  const bool by_tunable = p.tunables.find("glibc.pthread.rseq=0") != std::string::npos;
  out.push_back({Severity::warning, "magazines", "Reached by a lock, which makes malloc and free several times dearer",
                 by_tunable
                     ? "GLIBC_TUNABLES switches glibc's restartable sequences off: take glibc.pthread.rseq=0 out."
                     : "POOLMALLOC_MAGAZINE=locked does that, a C library older than 2.35 with a kernel or sandbox "
                       "that refuses rseq(2), or an emulator."});
}

void examine_mappings(const ProcessFacts& p, const MachineFacts& m, const PageBody* page, Findings& out) {
  if (!m.max_map_count || p.mappings == 0) return;
  const std::string what = grouped_text(p.mappings) + " of " + grouped_text(*m.max_map_count) + " mappings";
  const uint64_t refusals = page != nullptr ? page->snapshot.mapping_refusals : 0;
  if (p.mappings * 10 < *m.max_map_count * 7 && refusals == 0) return fine(out, "mappings", what);
  out.push_back({p.mappings * 10 >= *m.max_map_count * 9 ? Severity::problem : Severity::warning, "mappings",
                 what + "; beyond it the program's own mmap fails. " + grouped_text(refusals) +
                     " times the library kept from splitting one",
                 "sysctl vm.max_map_count=" + std::to_string(*m.max_map_count * 4)});
}

void examine_address_space(const ProcessFacts& p, Findings& out) {
  if (!p.address_space_limit) return;
  out.push_back({Severity::note, "address space",
                 "RLIMIT_AS (ulimit -v) is " + bytes_text(*p.address_space_limit) +
                     ": malloc fails there however little is resident",
                 "A memory limit of the control group says what is meant better."});
}

void examine_sandbox(const ProcessFacts& p, Findings& out) {
  if (p.seccomp == 0) return fine(out, "sandbox", "no seccomp filter");
  out.push_back({Severity::note, "sandbox",
                 "The process is under seccomp: the worker ends where a filter comes over it",
                 "If the program is killed for a system call, POOLMALLOC_WORKER=off takes the thread away."});
}

void examine_process_huge_pages(const ProcessFacts& p, const PageBody* page, Findings& out) {
  if (p.huge_pages_off) {
    out.push_back({Severity::note, "huge pages", "Switched off for this process (PR_SET_THP_DISABLE)",
                   "Whoever started it did that; systemd and container run times have settings for it."});
  }
  if (page == nullptr || page->snapshot.huge_bytes == 0) return;
  const Snapshot& s = page->snapshot;
  if (s.huge_waste_bytes * 10 < s.huge_bytes) return;
  out.push_back({Severity::warning, "huge pages",
                 bytes_text(s.huge_waste_bytes) + " of " + bytes_text(s.huge_bytes) + " on huge pages are free",
                 "POOLMALLOC_HUGE=never, or collapse, for a heap as sparse as this one."});
}

void examine_limit(const PageBody* page, Findings& out) {
  if (page == nullptr) return;
  const Snapshot& s = page->snapshot;
  if (s.limit_bytes == 0) {
    return fine(out, "limit", "none but the machine's");
  }
  const std::string what =
      bytes_text(s.usage_bytes) + " of the tightest limit of " + bytes_text(s.limit_bytes) + " are used";
  const bool soon = s.seconds_to_limit < 600;
  if (s.pressure_level < 2 && !soon) return fine(out, "limit", what);
  out.push_back(
      {s.pressure_level >= 3 || s.seconds_to_limit < 60 ? Severity::problem : Severity::warning, "limit",
       what + (soon ? "; at this rate it is met in " + duration_text(s.seconds_to_limit) : ""),
       "Raise the limit, or let the program free memory (pm_pressure_subscribe). poolmalloc trim PID gives back "
       "what is free, " +
           bytes_text(s.dirty_bytes) + " at most of whole extents."});
}

void examine_refusals(const PageBody* page, Findings& out) {
  if (page == nullptr) return;
  const Snapshot& s = page->snapshot;
  if (s.commit_failures != 0) {
    out.push_back({Severity::warning, "refused memory",
                   grouped_text(s.commit_failures) + " times the system refused memory",
                   "See overcommit, address space, mappings and limit here."});
  }
  if (s.limit_refusals != 0) {
    out.push_back({Severity::warning, "refused memory",
                   grouped_text(s.limit_refusals) + " allocations failed because of limit_hard",
                   "Raise POOLMALLOC_LIMIT_HARD, if the program cannot live with that."});
  }
  if (s.misuses != 0) {
    out.push_back({Severity::problem, "misuse",
                   grouped_text(s.misuses) + " misuses such as double frees were reported on stderr and ignored",
                   "They are errors of the program: each line names the library that called."});
  }
}

void examine_worker(const ProcessFacts& p, const PageBody* page, Findings& out) {
  if (page == nullptr) {
    out.push_back({Severity::note, "worker", "No worker, so nothing is published and no limit is watched",
                   "A process gets one when its heap has grown or it has lived for a while; POOLMALLOC_WORKER=always "
                   "starts it at once."});
    return;
  }
  const Snapshot& s = page->snapshot;
  if (s.missing_sources != 0) {
    std::string missing;
    constexpr const char* kSources[] = {"statm",  "the group's usage",    "the group's limit",
                                        "stalls", "the machine's memory", "the group's events"};
    for (unsigned i = 0; i < std::size(kSources); ++i) {
      if ((s.missing_sources >> i & 1) != 0) missing += (missing.empty() ? "" : ", ") + std::string(kSources[i]);
    }
    const bool serious = (s.missing_sources & 0x7) != 0;
    out.push_back({serious ? Severity::warning : Severity::note, "sensors", "Not readable for the worker: " + missing,
                   serious ? "Mount /proc and the control group's folder readably in the container." : ""});
  }
  if (s.leak_score >= 500) {
    out.push_back({Severity::warning, "leak",
                   "Objects of " + (s.leak_size == 0 ? "large sizes" : std::to_string(s.leak_size) + " bytes") +
                       " grew by " + bytes_text(s.leak_growth_bytes) + " over the last minutes and do not come back",
                   "poolmalloc prof start " + std::to_string(p.pid) + ", and some minutes later poolmalloc leaks " +
                       std::to_string(p.pid) + "."});
  }
}

}  // namespace

std::vector<Finding> examine_machine(const MachineFacts& machine) {
  Findings out;
  examine_kernel(machine, out);
  examine_memory(machine, out);
  examine_overcommit(machine, out);
  examine_huge_pages(machine, out);
  examine_pressure_sensors(machine, out);
  return out;
}

std::vector<Finding> examine_process(const ProcessFacts& process, const MachineFacts& machine, const PageBody* page) {
  Findings out;
  examine_mode(process, page, out);
  examine_limit(page, out);
  examine_mappings(process, machine, page, out);
  examine_worker(process, page, out);
  examine_variables(process, out);
  examine_rivals(process, page, out);
  examine_address_space(process, out);
  examine_sandbox(process, out);
  examine_process_huge_pages(process, page, out);
  examine_refusals(page, out);
  return out;
}

std::vector<Share> split_resident(const ProcessFacts& process, const PageBody& page) {
  const Snapshot& s = page.snapshot;
  // Of what the heap has, live objects and free slots may lie on pages that were never touched or were given back; so
  // what is not in another row is counted, not assumed.
  const uint64_t held = s.magazine_bytes + s.depot_bytes + s.dirty_bytes;
  const uint64_t heap = process.heap_resident_bytes.value_or(std::min(s.exposed_bytes, s.resident_bytes));
  const uint64_t in_objects = heap > held ? heap - held : 0;
  const uint64_t live = std::min(s.live_bytes, in_objects);
  const uint64_t slack = in_objects - live;
  const uint64_t metadata = s.metadata_bytes;
  const uint64_t ours = heap + metadata;
  return {
      {"live objects", live, "what the program holds"},
      {"free in slabs", slack, "free slots between live objects, ends of slabs, free granules of huge pages"},
      {"magazines", s.magazine_bytes, "free objects kept by the CPUs; POOLMALLOC_MAGAZINE_BYTES bounds them"},
      {"depot", s.depot_bytes, "free objects kept between the CPUs; POOLMALLOC_DEPOT_BYTES bounds them"},
      {"dirty", s.dirty_bytes, "free and resident; POOLMALLOC_DIRTY_BYTES bounds it, poolmalloc trim gives it back"},
      {"metadata", metadata, "the library's own records"},
      {"not the heap's", s.resident_bytes > ours ? s.resident_bytes - ours : 0,
       "code, stacks, files, the program's own mmap"},
  };
}

}  // namespace pm
