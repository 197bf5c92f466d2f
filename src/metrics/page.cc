#include "metrics/page.h"

#include <cstring>

namespace pm {
namespace {

constexpr uint64_t kFnvPrime = 0x100000001b3;

constexpr void mix(uint64_t& hash, uint64_t byte) { hash = (hash ^ (byte & 0xff)) * kFnvPrime; }

constexpr void mix_name(uint64_t& hash, const char* name) {
  for (; *name != '\0'; ++name) mix(hash, static_cast<uint64_t>(static_cast<unsigned char>(*name)));
  mix(hash, 0);
}

// The names of all rows in their order, and the sizes of what lies beside them.
constexpr uint64_t compute_fingerprint() {
  uint64_t hash = 0xcbf29ce484222325;
  for (const MetricInfo& info : kMetricInfo) mix_name(hash, info.name);
  for (const ClassMetricInfo& info : kClassMetricInfo) mix_name(hash, info.name);
  for (const size_t number : {sizeof(PageBody), sizeof(NodeRow), sizeof(CpuRow), sizeof(Event), size_t{kEventKinds},
                              sizeof(SiteRow), sizeof(RequestRow)}) {
    for (unsigned shift = 0; shift < 32; shift += 8) mix(hash, number >> shift);
  }
  return hash;
}

constexpr uint64_t kFingerprint = compute_fingerprint();

using Word = uint64_t __attribute__((may_alias));

void load_words(void* to, const void* from, size_t bytes) {
  auto* const out = static_cast<char*>(to);
  const auto* const words = static_cast<const Word*>(from);
  for (size_t i = 0; i < (bytes + 7) / 8; ++i) {
    const uint64_t word = __atomic_load_n(words + i, __ATOMIC_RELAXED);
    const size_t left = bytes - i * 8;
    memcpy(out + i * 8, &word, left < 8 ? left : 8);
  }
}

uint32_t at_most(uint32_t count, size_t most) { return count < most ? count : static_cast<uint32_t>(most); }

// The counts may be of another write than the rows; the sequence tells afterwards.
void copy_body(const PageBody& from, PageBody& to) {
  load_words(&to.stamp, &from.stamp, sizeof to.stamp);
  PageStamp& stamp = to.stamp;
  stamp.node_rows = at_most(stamp.node_rows, kMaxNodeRows);
  stamp.cpu_rows = at_most(stamp.cpu_rows, kMaxCpuRows);
  stamp.events = at_most(stamp.events, kMaxEvents);
  stamp.site_rows = at_most(stamp.site_rows, kMaxSiteRows);
  stamp.request_rows = at_most(stamp.request_rows, kMaxRequestRows);
  load_words(to.options, from.options, sizeof to.options);
  to.options[kOptionsText - 1] = '\0';
  load_words(to.nodes, from.nodes, stamp.node_rows * sizeof(NodeRow));
  load_words(to.cpus, from.cpus, stamp.cpu_rows * sizeof(CpuRow));
  load_words(to.events, from.events, stamp.events * sizeof(Event));
  load_words(to.sites, from.sites, stamp.site_rows * sizeof(SiteRow));
  for (uint32_t i = 0; i < stamp.site_rows; ++i) {
    if (to.sites[i].frames > kSiteFrames) to.sites[i].frames = kSiteFrames;
  }
  load_words(to.requests, from.requests, stamp.request_rows * sizeof(RequestRow));
  load_words(&to.snapshot, &from.snapshot, offsetof(Snapshot, classes));
  Snapshot& snapshot = to.snapshot;
  snapshot.class_count = at_most(snapshot.class_count, kMaxSnapshotClasses);
  snapshot.mode[sizeof snapshot.mode - 1] = '\0';
  snapshot.fit[sizeof snapshot.fit - 1] = '\0';
  load_words(snapshot.classes, from.snapshot.classes, snapshot.class_count * sizeof(Snapshot::ClassRow));
}

}  // namespace

uint64_t page_fingerprint() { return kFingerprint; }

void page_make_head(StatisticsPage& page, const char* version, uint32_t process, uint64_t unix_ns) {
  page.head.layout = kPageLayout;
  page.head.bytes = sizeof(StatisticsPage);
  page.head.fingerprint = kFingerprint;
  size_t i = 0;
  for (; version[i] != '\0' && i + 1 < sizeof page.head.version; ++i) page.head.version[i] = version[i];
  page.head.version[i] = '\0';
  page.head.process = process;
  page.head.published_unix_ns = unix_ns;
  // Release: who finds the magic finds the rest.
  __atomic_store_n(&page.head.magic, kPageMagic, __ATOMIC_RELEASE);
}

void page_begin(StatisticsPage& page) {
  page.sequence.store(page.sequence.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  // Pairs with the acquire fence in page_read: who sees a word of this write sees the odd sequence too.
  std::atomic_thread_fence(std::memory_order_release);
}

void page_store(void* to, const void* from, size_t bytes) {
  auto* const words = static_cast<Word*>(to);
  const auto* const in = static_cast<const char*>(from);
  for (size_t i = 0; i < (bytes + 7) / 8; ++i) {
    uint64_t word = 0;
    const size_t left = bytes - i * 8;
    memcpy(&word, in + i * 8, left < 8 ? left : 8);
    __atomic_store_n(words + i, word, __ATOMIC_RELAXED);
  }
}

void page_end(StatisticsPage& page) {
  // Release pairs with the acquire in page_read. 0 means "never written", so the sequence leaves it out.
  const uint32_t next = page.sequence.load(std::memory_order_relaxed) + 1;
  page.sequence.store(next != 0 ? next : 2, std::memory_order_release);
}

PageCheck check_page(const PageHead& head, uint64_t bytes) {
  if (bytes < sizeof head || head.magic != kPageMagic) return PageCheck::no_page;
  const bool fits = head.layout == kPageLayout && head.fingerprint == kFingerprint &&
                    head.bytes == sizeof(StatisticsPage) && bytes >= sizeof(StatisticsPage);
  return fits ? PageCheck::fits : PageCheck::other_version;
}

bool page_read(const StatisticsPage& page, PageBody& out) {
  for (unsigned tries = 0; tries < 100'000; ++tries) {
    const uint32_t before = page.sequence.load(std::memory_order_acquire);
    if (before == 0) return false;
    if ((before & 1U) != 0) continue;
    copy_body(page.body, out);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (page.sequence.load(std::memory_order_relaxed) == before) return true;
  }
  return false;
}

}  // namespace pm
