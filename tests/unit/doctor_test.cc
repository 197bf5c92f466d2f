// What doctor and advise make of machines and processes that do not exist.
#include "preload/launcher/doctor.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "preload/launcher/advise.h"
#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint64_t kMiB = 1 << 20;

// A folder that stands for the root of a machine.
struct Root {
  Root() {
    char name[] = "/tmp/doctor-XXXXXX";
    path = mkdtemp(name);
  }
  ~Root() { std::filesystem::remove_all(path); }
  void write(const std::string& file, const std::string& text) const {
    const std::filesystem::path whole = path + file;
    std::filesystem::create_directories(whole.parent_path());
    std::ofstream(whole, std::ios::binary) << text;
  }
  std::string path;
};

const Finding* find(const std::vector<Finding>& findings, const std::string& about) {
  for (const Finding& finding : findings) {
    if (finding.about == about) return &finding;
  }
  return nullptr;
}

Severity severity_of(const std::vector<Finding>& findings, const std::string& about) {
  const Finding* const finding = find(findings, about);
  REQUIRE(finding != nullptr);
  return finding->severity;
}

MachineFacts good_machine() {
  MachineFacts m;
  m.kernel = "6.1.0";
  m.kernel_major = 6;
  m.kernel_minor = 1;
  m.max_map_count = 65530;
  m.overcommit_memory = 0;
  m.huge_pages = "madvise";
  m.total_bytes = 16384 * kMiB;
  m.available_bytes = 8192 * kMiB;
  m.pressure_stalls = true;
  return m;
}

std::unique_ptr<PageBody> good_page() {
  auto page = std::make_unique<PageBody>();
  std::memset(static_cast<void*>(page.get()), 0, sizeof *page);
  strcpy(page->snapshot.mode, "rseq");
  page->snapshot.seconds_to_limit = ~uint32_t{0};
  return page;
}

ProcessFacts good_process() {
  ProcessFacts p;
  p.pid = 1234;
  p.program = "server";
  p.readable = true;
  p.mappings = 100;
  return p;
}

}  // namespace

TEST_CASE("a machine is read from its files") {
  const Root root;
  root.write("/proc/sys/kernel/osrelease", "5.10.0-18-amd64\n");
  root.write("/proc/sys/vm/max_map_count", "65530\n");
  root.write("/proc/sys/vm/overcommit_memory", "2\n");
  root.write("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  root.write("/proc/meminfo", "MemTotal:       16000 kB\nMemAvailable:     400 kB\nSwapTotal:          0 kB\n");
  root.write("/sys/devices/system/node/node0/x", "");
  root.write("/sys/devices/system/node/node1/x", "");
  const MachineFacts m = read_machine(root.path);
  CHECK((m.kernel_major == 5 && m.kernel_minor == 10));
  CHECK((m.max_map_count == 65530u && m.overcommit_memory == 2u && m.total_bytes == 16000u * 1024));
  CHECK((m.huge_pages == "never" && !m.pressure_stalls && m.nodes == 2));
  const std::vector<Finding> findings = examine_machine(m);
  CHECK(severity_of(findings, "memory") == Severity::problem);
  CHECK(severity_of(findings, "overcommit") == Severity::warning);
  CHECK(severity_of(findings, "huge pages") == Severity::note);
  CHECK(find(findings, "kernel")->what.find("populate") != std::string::npos);
  CHECK(find(findings, "kernel")->what.find("process_madvise") == std::string::npos);
}

TEST_CASE("an unreadable machine has no findings that are made up") {
  const Root root;
  const std::vector<Finding> findings = examine_machine(read_machine(root.path));
  for (const Finding& finding : findings) CHECK(finding.severity <= Severity::note);
  CHECK(find(findings, "kernel") == nullptr);
}

TEST_CASE("a good machine is fine throughout") {
  for (const Finding& finding : examine_machine(good_machine())) CHECK(finding.severity == Severity::fine);
}

TEST_CASE("a process is read from its files") {
  const Root root;
  root.write("/proc/7/status", "Name:\tserver\nSeccomp:\t2\nTHP_enabled:\t0\n");
  root.write("/proc/7/limits",
             "Limit                     Soft Limit           Hard Limit           Units     \n"
             "Max address space         4294967296           unlimited            bytes     \n");
  root.write("/proc/7/maps",
             "1000-3000 rw-p 00000000 00:00 0 \n"
             "7f00-8f00 r-xp 00000000 00:00 12   /usr/lib/libjemalloc.so.2\n"
             "9f00-af00 r--p 00000000 00:00 12   /usr/lib/libjemalloc.so.2\n");
  const std::string environment("POOLMALLOC_CHECK=off\0LD_PRELOAD=/a/libpoolmalloc.so\0A=B\0", 55);
  root.write("/proc/7/environ", environment);
  // Two pages of the heap's range, one of them present.
  std::string entries(4 * 8, '\0');
  entries[2 * 8 - 1] = '\x80';
  root.write("/proc/7/pagemap", entries);
  const ProcessFacts p = read_process(7, 0x1000, 0x3000, root.path);
  CHECK((p.program == "server" && p.seccomp == 2 && p.huge_pages_off && p.readable && p.preloaded));
  CHECK((p.address_space_limit == uint64_t{1} << 32 && p.mappings == 3));
  CHECK(p.other_allocators == std::vector<std::string>{"/usr/lib/libjemalloc.so.2"});
  CHECK((p.variables.size() == 1 && p.variables[0].second == "off"));
  if (sysconf(_SC_PAGESIZE) == 4096) CHECK(p.heap_resident_bytes == 4096u);
  CHECK_FALSE(read_process(7, 0, 0, root.path).heap_resident_bytes.has_value());
}

TEST_CASE("what a process suffers from is found") {
  const MachineFacts machine = good_machine();
  const auto page = good_page();
  const auto examined = [&](const ProcessFacts& p) { return examine_process(p, machine, page.get()); };
  for (const Finding& finding : examined(good_process())) CHECK(finding.severity == Severity::fine);

  ProcessFacts p = good_process();
  p.mappings = 60000;
  CHECK(severity_of(examined(p), "mappings") == Severity::problem);
  p = good_process();
  p.variables = {{"POOLMALLOC_DIRTY_BYTES", "lots"}};
  CHECK(find(examined(p), "environment")->what.find("lots") != std::string::npos);
  p.variables = {{"POOLMALLOC_DIRTY_BYTES", "1m"}};
  CHECK(find(examined(p), "environment") == nullptr);

  p = good_process();
  strcpy(page->snapshot.mode, "locked");
  p.tunables = "glibc.pthread.rseq=0";
  CHECK(find(examined(p), "magazines")->remedy.find("GLIBC_TUNABLES") != std::string::npos);
  strcpy(page->snapshot.mode, "rseq");

  page->snapshot.limit_bytes = 100 * kMiB;
  page->snapshot.usage_bytes = 50 * kMiB;
  page->snapshot.seconds_to_limit = 300;
  CHECK(severity_of(examined(p), "limit") == Severity::warning);
  page->snapshot.seconds_to_limit = 30;
  CHECK(severity_of(examined(p), "limit") == Severity::problem);
  page->snapshot.misuses = 1;
  CHECK(severity_of(examined(p), "misuse") == Severity::problem);
  CHECK(severity_of(examine_process(p, machine, nullptr), "worker") == Severity::note);
}

TEST_CASE("the shares of resident memory add up") {
  const auto page = good_page();
  Snapshot& s = page->snapshot;
  s.resident_bytes = 100 * kMiB;
  s.live_bytes = 40 * kMiB;
  s.magazine_bytes = 2 * kMiB;
  s.depot_bytes = kMiB;
  s.dirty_bytes = 20 * kMiB;
  s.metadata_bytes = kMiB;
  ProcessFacts p = good_process();
  p.heap_resident_bytes = 70 * kMiB;
  uint64_t sum = 0;
  uint64_t slack = 0;
  for (const Share& share : split_resident(p, *page)) {
    sum += share.bytes;
    if (share.name == "free in slabs") slack = share.bytes;
  }
  CHECK(sum == s.resident_bytes);
  CHECK(slack == 7 * kMiB);
}

TEST_CASE("advice needs evidence, and does not contradict what was set") {
  const auto page = good_page();
  CHECK(recommend(*page).empty());
  Snapshot& s = page->snapshot;
  s.magazine_hits = 90'000'000;
  s.magazine_misses = 10'000'000;
  page->stamp.cpu_rows = 1;
  page->cpus[0].capacity_bytes = 2 * kMiB;
  std::vector<Advice> advice = recommend(*page);
  REQUIRE(advice.size() == 1);
  CHECK((advice[0].option == "magazine_bytes" && advice[0].value == "4m"));
  strcpy(page->options, "huge=never\nmagazine_bytes=1m\n");
  CHECK(recommend(*page).empty());

  s.decommitted_bytes = 4096 * kMiB;
  s.refaulted_bytes = 3000 * kMiB;
  advice = recommend(*page);
  REQUIRE(advice.size() == 1);
  CHECK(advice[0].option == "memory_price");
  // Near a limit there is no choice.
  s.released_limit_bytes = 2000 * kMiB;
  CHECK(recommend(*page).empty());
}
