#include "preload/launcher/facts.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace pm {
namespace {

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<uint64_t> number_in(const std::string& text) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || (rest != end && *rest != '\n' && *rest != ' ')) return {};
  return value;
}

// The word in brackets of "always [madvise] never".
std::string chosen_word(const std::string& text) {
  const size_t begin = text.find('[');
  const size_t end = text.find(']');
  return begin == std::string::npos || end == std::string::npos || end < begin
             ? ""
             : text.substr(begin + 1, end - begin - 1);
}

// What follows "key" and a colon at the start of a line; empty if there is none.
std::string field(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(key + ":", 0) != 0) continue;
    const size_t start = line.find_first_not_of(" \t", key.size() + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return {};
}

std::optional<uint64_t> kibibytes(const std::string& text, const std::string& key) {
  const std::optional<uint64_t> value = number_in(field(text, key));
  if (!value) return {};
  return *value * 1024;
}

unsigned count_nodes(const std::string& folder) {
  unsigned nodes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (name.size() > 4 && name.rfind("node", 0) == 0 && name.find_first_not_of("0123456789", 4) == std::string::npos) {
      ++nodes;
    }
  }
  return std::max(nodes, 1U);
}

void read_environment(const std::string& text, ProcessFacts& out) {
  std::istringstream variables(text);
  for (std::string entry; std::getline(variables, entry, '\0');) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) continue;
    const std::string name = entry.substr(0, equals);
    const std::string value = entry.substr(equals + 1);
    if (name.rfind("POOLMALLOC_", 0) == 0) out.variables.emplace_back(name, value);
    if (name == "GLIBC_TUNABLES") out.tunables = value;
    if (name == "LD_PRELOAD") out.preloaded = value.find("libpoolmalloc") != std::string::npos;
  }
}

bool is_other_allocator(const std::string& file) {
  for (const char* name : {"libjemalloc", "libtcmalloc", "libmimalloc", "libsnmalloc", "librpmalloc",
                           "libtbbmalloc_proxy", "libhoard", "libmesh", "libscudo", "libhardened_malloc"}) {
    if (file.rfind(name, 0) == 0) return true;
  }
  return false;
}

// Pages of [begin, end) that are present, by the pagemap, which is read in pieces and holds nothing up; smaps would
// walk the whole process at once and keep its mmap and faults waiting.
std::optional<uint64_t> present_bytes(int pagemap, uint64_t begin, uint64_t end) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  std::vector<uint64_t> entries(8192);
  uint64_t present = 0;
  for (uint64_t at = begin / page; at < end / page;) {
    const uint64_t wanted = std::min<uint64_t>(entries.size(), end / page - at);
    const ssize_t got =
        pread(pagemap, entries.data(), wanted * sizeof(uint64_t), static_cast<off_t>(at * sizeof(uint64_t)));
    if (got < static_cast<ssize_t>(sizeof(uint64_t))) return {};
    const auto count = static_cast<uint64_t>(got) / sizeof(uint64_t);
    for (uint64_t i = 0; i < count; ++i) present += entries[i] >> 63;
    at += count;
  }
  return present * page;
}

void read_mappings(const std::string& text, int pagemap, uint64_t heap_begin, uint64_t heap_end, ProcessFacts& out) {
  uint64_t resident = 0;
  bool counted = pagemap >= 0 && heap_begin < heap_end;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    ++out.mappings;
    uint64_t begin = 0;
    uint64_t end = 0;
    const size_t dash = line.find('-');
    const size_t space = line.find(' ');
    if (dash == std::string::npos || space == std::string::npos) continue;
    std::from_chars(line.data(), line.data() + dash, begin, 16);
    std::from_chars(line.data() + dash + 1, line.data() + space, end, 16);
    if (counted && begin < heap_end && end > heap_begin) {
      const std::optional<uint64_t> bytes =
          present_bytes(pagemap, std::max(begin, heap_begin), std::min(end, heap_end));
      counted = bytes.has_value();
      resident += bytes.value_or(0);
    }
    const size_t slash = line.find('/');
    if (slash == std::string::npos) continue;
    const std::string file = line.substr(line.rfind('/') + 1);
    const std::string path = line.substr(slash);
    if (is_other_allocator(file) &&
        std::find(out.other_allocators.begin(), out.other_allocators.end(), path) == out.other_allocators.end()) {
      out.other_allocators.push_back(path);
    }
  }
  if (counted) out.heap_resident_bytes = resident;
}

// "Max address space      unlimited            unlimited            bytes"
std::optional<uint64_t> soft_limit(const std::string& text, const std::string& name) {
  const size_t start = text.find(name);
  if (start == std::string::npos) return {};
  const size_t value = text.find_first_not_of(' ', start + name.size());
  return value == std::string::npos ? std::nullopt : number_in(text.substr(value));
}

}  // namespace

MachineFacts read_machine(const std::string& root) {
  MachineFacts out;
  out.kernel = read_text(root + "/proc/sys/kernel/osrelease");
  if (!out.kernel.empty() && out.kernel.back() == '\n') out.kernel.pop_back();
  std::istringstream release(out.kernel);
  char dot = 0;
  release >> out.kernel_major >> dot >> out.kernel_minor;
  out.max_map_count = number_in(read_text(root + "/proc/sys/vm/max_map_count"));
  out.overcommit_memory = number_in(read_text(root + "/proc/sys/vm/overcommit_memory"));
  const std::string huge = root + "/sys/kernel/mm/transparent_hugepage/";
  out.huge_pages = chosen_word(read_text(huge + "enabled"));
  out.huge_defrag = chosen_word(read_text(huge + "defrag"));
  out.hugetlb_pages = number_in(read_text(root + "/proc/sys/vm/nr_hugepages"));
  const std::string memory = read_text(root + "/proc/meminfo");
  out.total_bytes = kibibytes(memory, "MemTotal");
  out.available_bytes = kibibytes(memory, "MemAvailable");
  out.swap_bytes = kibibytes(memory, "SwapTotal");
  out.pressure_stalls = !read_text(root + "/proc/pressure/memory").empty();
  out.nodes = count_nodes(root + "/sys/devices/system/node");
  return out;
}

ProcessFacts read_process(pid_t pid, uint64_t heap_begin, uint64_t heap_end, const std::string& root) {
  ProcessFacts out;
  out.pid = pid;
  const std::string folder = root + "/proc/" + std::to_string(pid) + "/";
  const std::string status = read_text(folder + "status");
  out.program = field(status, "Name");
  out.seccomp = static_cast<unsigned>(number_in(field(status, "Seccomp")).value_or(0));
  out.huge_pages_off = field(status, "THP_enabled") == "0";
  out.address_space_limit = soft_limit(read_text(folder + "limits"), "Max address space");
  const std::string maps = read_text(folder + "maps");
  out.readable = !maps.empty();
  const int pagemap = open((folder + "pagemap").c_str(), O_RDONLY | O_CLOEXEC);
  read_mappings(maps, pagemap, heap_begin, heap_end, out);
  if (pagemap >= 0) close(pagemap);
  read_environment(read_text(folder + "environ"), out);
  return out;
}

}  // namespace pm
