#include "profile/dump.h"

#include <cerrno>
#include <cstring>

#include "base/text.h"
#include "os/mappings.h"
#include "os/proc_text.h"
#include "os/process.h"

namespace pm {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kAgeEnds[kAges - 1] = {1, 10, 60, 300, 1800, 7200, 43200};  // seconds

unsigned age_of(uint64_t ns) {
  unsigned age = 0;
  while (age < kAges - 1 && ns >= kAgeEnds[age] * kSecond) ++age;
  return age;
}

// One dump at a time: its table of counts is shared.
class Turn {
 public:
  Turn() : taken_(!profile_state.dumping.exchange(true, std::memory_order_acquire)) {}
  ~Turn() {
    if (taken_) profile_state.dumping.store(false, std::memory_order_release);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  bool taken() const { return taken_; }

 private:
  const bool taken_;
};

struct Copied {
  uint32_t sites;  // looked at
  unsigned modules;
  uint64_t period, dropped, started_ns;
};

// What is to be written, as of one moment.
Copied copy_counts() {
  ProfileState& state = profile_state;
  Copied out = {};
  out.sites = state.sites.count();
  // Touched before the lock is taken.
  for (uint32_t i = 0; i < out.sites; ++i) state.counts[i] = {};
  const LockGuard guard(state.lock);
  for (uint32_t i = 0; i < out.sites; ++i) {
    const Site& site = state.sites[i];
    if (site.generation != state.generation) continue;
    SiteCounts& counts = state.counts[i];
    counts.allocated = site.allocated;
    counts.bytes = site.bytes;
    counts.live = site.live;
    counts.live_weight = site.live_weight;
    counts.temporary = site.temporary;
    const bool unchanged = state.at_peak || site.peak_epoch != state.peak_epoch;
    counts.peak = unchanged ? site.live : site.live_at_peak;
  }
  const uint64_t now = os::monotonic_ns();
  state.samples.each([&](const LiveSample& sample) {
    if (sample.generation != state.generation || sample.site >= out.sites) return;
    ++state.counts[sample.site].ages[age_of(now - sample.time_ns)];
  });
  out.modules = state.modules.count();
  out.period = state.period;
  out.started_ns = state.started_ns;
  out.dropped = dropped_samples.load(std::memory_order_relaxed) - state.dropped_before;
  return out;
}

struct Destination {
  int fd;
  long error;
};

void write_to(void* context, const char* data, size_t size) {
  auto* const destination = static_cast<Destination*>(context);
  if (destination->error == 0) destination->error = os::write_all(destination->fd, data, size);
}

void hex_text(TextWriter& out, uint64_t value) {
  char digits[17];
  unsigned at = sizeof digits;
  do {
    digits[--at] = "0123456789abcdef"[value & 15U];
    value >>= 4;
  } while (value != 0);
  out.text(digits + at, sizeof digits - at);
}

void time_text(TextWriter& out, uint64_t ns) {
  char digits[3];
  uint64_t ms = ns / 1'000'000 % 1000;
  for (unsigned i = 3; i-- > 0; ms /= 10) digits[i] = static_cast<char>('0' + ms % 10);
  out.number(ns / kSecond).character('.').text(digits, sizeof digits);
}

void mapping_text(TextWriter& out, uintptr_t start, uintptr_t end, uint64_t offset, const uint8_t* build_id,
                  size_t build_id_bytes, const char* state, const char* path) {
  out.text("mapping ");
  hex_text(out, start);
  hex_text(out.character(' '), end);
  hex_text(out.character(' '), offset);
  out.character(' ');
  if (build_id_bytes == 0) out.character('-');
  for (size_t i = 0; i < build_id_bytes; ++i) {
    out.character("0123456789abcdef"[build_id[i] >> 4]).character("0123456789abcdef"[build_id[i] & 15U]);
  }
  out.character(' ').text(state).character(' ').text(path).character('\n');
}

// The mappings of code, and which of the modules on the stacks are still among them.
class MappingLines {
 public:
  explicit MappingLines(TextWriter& out) : out_(out) {}

  void add(const os::MappingLine& mapping) {
    if (mapping.path[0] == 0) return;
    if (mapping.file_offset == 0) {
      head_ = mapping.start;
      head_path_ = fingerprint(mapping.path);
    }
    if (!mapping.executable) return;
    uint8_t id[os::kMostBuildId];
    const bool whole = head_ != 0 && head_path_ == fingerprint(mapping.path);
    const size_t bytes = whole && mapping.path[0] == '/' ? os::read_build_id(head_, id) : 0;
    mapping_text(out_, mapping.start, mapping.end, mapping.file_offset, id, bytes, "here", mapping.path);
    const ModuleTable& modules = profile_state.modules;
    for (unsigned i = 0; i < kModules && i < modules.count(); ++i) {
      const os::ObjectCode& code = modules[i].code;
      if (code.start != mapping.start) continue;
      const bool same = bytes == 0 || (bytes == code.build_id_bytes && memcmp(id, code.build_id, bytes) == 0);
      if (same) here_[i / 64] |= uint64_t{1} << (i % 64);
    }
  }
  static void add_to(void* context, const os::MappingLine& mapping) {
    static_cast<MappingLines*>(context)->add(mapping);
  }

  void add_gone(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      if ((here_[i / 64] >> (i % 64) & 1U) != 0) continue;
      const Module& module = profile_state.modules[i];
      mapping_text(out_, module.code.start, module.code.end, module.code.file_offset, module.code.build_id,
                   module.code.build_id_bytes, "gone", module.path[0] != 0 ? module.path : "?");
    }
  }

 private:
  static constexpr unsigned kModules = ModuleTable::kMost;
  static uint64_t fingerprint(const char* path) { return os::fingerprint({path, text_length(path)}); }

  TextWriter& out_;
  uintptr_t head_ = 0;
  uint64_t head_path_ = 0;
  uint64_t here_[kModules / 64] = {};
};

void header_text(TextWriter& out, const Copied& copied) {
  char path[4096];
  const long length = os::executable_path(path, sizeof path);
  out.text("poolmalloc-profile 1\nprocess ").number(static_cast<unsigned>(os::process_id()));
  out.character(' ').number(os::process_start_ns() / kSecond).character(' ');
  out.text(length > 0 ? path : "?").text("\ntaken ");
  time_text(out, os::wall_clock_ns());
  time_text(out.text("\nstarted "), copied.started_ns);
  out.text("\nperiod ").number(copied.period).text("\ndropped ").number(copied.dropped).character('\n');
}

void site_text(TextWriter& out, uint64_t id, const Site& site, const SiteCounts& counts) {
  out.text("site ").number(id).character(' ').number(site_size(site, counts));
  for (const uint64_t n : {counts.allocated, counts.live, counts.peak, counts.temporary}) out.character(' ').number(n);
  out.text(" age");
  for (const uint32_t n : counts.ages) out.character(' ').number(n);
  out.text(" stack");
  const uintptr_t* const stack = profile_state.sites.stack_of(site);
  if (site.depth == 0) out.text(" 0");
  for (unsigned i = 0; i < site.depth; ++i) hex_text(out.character(' '), stack[i]);
  out.character('\n');
}

template <typename Use>
void each_copied(const Copied& copied, Use use) {
  for (uint32_t i = 0; i < copied.sites; ++i) {
    const SiteCounts& counts = profile_state.counts[i];
    // Those of an earlier profile, and of threads that did not finish them.
    if (counts.allocated != 0) use(profile_state.sites[i], counts);
  }
}

}  // namespace

uint64_t site_size(const Site& site, const SiteCounts& counts) {
  return object_size(site.key, counts.bytes, counts.allocated);
}

const uintptr_t* site_stack(const Site& site) { return profile_state.sites.stack_of(site); }

long profile_dump(int fd) {
  if (!profile_exists.load(std::memory_order_acquire)) return -ESRCH;
  const Turn turn;
  if (!turn.taken()) return -EBUSY;
  const Copied copied = copy_counts();
  char buffer[8192];
  Destination destination = {fd, 0};
  TextWriter out(buffer, write_to, &destination);
  header_text(out, copied);
  MappingLines mappings(out);
  os::each_mapping(MappingLines::add_to, &mappings);
  mappings.add_gone(copied.modules);
  uint64_t sites = 0;
  each_copied(copied, [&](const Site& site, const SiteCounts& counts) { site_text(out, sites++, site, counts); });
  out.text("end ").number(sites).character('\n');
  out.flush();
  return destination.error;
}

long profile_each_site(SiteUser use, void* context) {
  if (!profile_exists.load(std::memory_order_acquire)) return -ESRCH;
  const Turn turn;
  if (!turn.taken()) return -EBUSY;
  each_copied(copy_counts(), [&](const Site& site, const SiteCounts& counts) { use(context, site, counts); });
  return 0;
}

}  // namespace pm
