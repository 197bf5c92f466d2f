// The advice of `poolmalloc advise`, one small function for each option.
#include <algorithm>

#include "preload/launcher/advise.h"
#include "preload/launcher/class_advice.h"
#include "preload/launcher/units.h"

namespace pm {
namespace {

using Advices = std::vector<Advice>;

constexpr uint64_t kMiB = 1 << 20;
// Less memory than this is not worth an option.
constexpr uint64_t kLeastBytes = 64 * kMiB;

// A power of two of mebibytes, at least `bytes`.
std::string rounded_size(uint64_t bytes) {
  uint64_t mebibytes = 1;
  while (mebibytes * kMiB < bytes) mebibytes *= 2;
  return mebibytes >= 1024 ? std::to_string(mebibytes / 1024) + "g" : std::to_string(mebibytes) + "m";
}

void advise_magazines(const PageBody& page, Advices& out) {
  const Snapshot& s = page.snapshot;
  const uint64_t calls = s.magazine_hits + s.magazine_misses;
  if (calls < kLeastCalls || s.magazine_misses * 100 < calls * 2) return;
  uint64_t fullest = 0;  // capacity of the CPU that has most
  for (uint32_t i = 0; i < page.stamp.cpu_rows; ++i) fullest = std::max(fullest, page.cpus[i].capacity_bytes);
  // Only where the bound keeps magazines from growing.
  const uint64_t bound = 2 * kMiB;
  if (fullest < bound * 3 / 4) return;
  out.push_back({"magazine_bytes", rounded_size(fullest * 2),
                 percent_text(s.magazine_misses, calls) + " of " + grouped_text(calls) +
                     " calls found their magazine empty or full, and a CPU's magazines have grown to " +
                     bytes_text(fullest) + ", about their bound",
                 "up to as many bytes a CPU stay cached"});
}

void advise_depot(const PageBody& page, Advices& out) {
  const Snapshot& s = page.snapshot;
  const uint64_t moves = s.refills + s.flushes;
  if (moves < kLeastCalls / 50 || s.refills == 0) return;
  const uint64_t bound = 4 * kMiB;
  if (s.depot_bytes < bound * 3 / 4 || s.depot_hits * 2 > s.refills) return;
  out.push_back({"depot_bytes", rounded_size(bound * 4),
                 "The depot is full (" + bytes_text(s.depot_bytes) + ") and serves " +
                     percent_text(s.depot_hits, s.refills) +
                     " of the refills: threads hand objects to each other faster than it holds",
                 "as many bytes of free objects stay between the CPUs"});
}

void advise_decommit(const PageBody& page, Advices& out) {
  const Snapshot& s = page.snapshot;
  if (s.decommitted_bytes < kLeastBytes * 16) return;
  const bool near_limit =
      s.released_limit_bytes + s.released_emergency_bytes + s.released_pressure_bytes > s.decommitted_bytes / 4;
  if (s.refaulted_bytes * 2 < s.decommitted_bytes || near_limit) return;
  out.push_back({"memory_price", "25",
                 bytes_text(s.refaulted_bytes) + " of " + bytes_text(s.decommitted_bytes) +
                     " given back came into use again: keeping it for longer saves the faults",
                 "more memory stays resident between peaks"});
}

void advise_huge_pages(const PageBody& page, Advices& out) {
  const Snapshot& s = page.snapshot;
  if (s.huge_bytes >= kLeastBytes && s.huge_waste_bytes * 10 > s.huge_bytes) {
    out.push_back({"huge", "collapse",
                   bytes_text(s.huge_waste_bytes) + " of " + bytes_text(s.huge_bytes) +
                       " on huge pages are free: ask for them when memory is dense, not when it is mapped",
                   "fresh memory faults page by page"});
    return;
  }
  const bool lasting = s.huge_eligible_bytes >= 8 * kLeastBytes && s.decommitted_bytes < s.huge_eligible_bytes;
  if (!lasting || s.huge_bytes * 2 > s.huge_eligible_bytes || s.collapse_failures > s.collapses) return;
  out.push_back({"huge", "always",
                 "Only " + percent_text(s.huge_bytes, s.huge_eligible_bytes) + " of " +
                     bytes_text(s.huge_eligible_bytes) +
                     " lie on huge pages, and little of the heap is ever given back",
                 "memory is taken in pieces of 2 MiB"});
}

void advise_limit(const PageBody& page, Advices& out) {
  const Snapshot& s = page.snapshot;
  if (s.emergencies == 0 || s.limit_bytes == 0) return;
  out.push_back({"limit_soft", rounded_size(s.limit_bytes / 10 * 9 / 2),
                 grouped_text(s.emergencies) + " allocations met the limit of " + bytes_text(s.limit_bytes) +
                     " and had to make room first; a soft limit below it has that done earlier, and callbacks called",
                 "less is kept for reuse as that limit comes near"});
}

void advise_nodes(const PageBody& page, Advices& out) {
  const Snapshot& s = page.snapshot;
  if (s.nodes < 2 || s.refills < kLeastCalls / 50 || s.remote_refills * 4 < s.refills) return;
  out.push_back({"numa", "interleave",
                 percent_text(s.remote_refills, s.refills) +
                     " of the refills came from another memory node: threads wander, so no node is the right one",
                 "no memory is near on purpose"});
}

void advise_size_classes(const PageBody& page, Advices& out) {
  const ClassAdvice found = find_classes(page);
  if (!is_worthwhile(found, page)) return;
  std::string sizes;
  for (const uint32_t size : found.sizes) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
  const uint64_t live = page.snapshot.live_bytes;
  const auto saved = static_cast<uint64_t>(found.saved.value);
  out.push_back({"size_classes", sizes,
                 "In classes of these sizes the objects in use would take about " + bytes_text(saved) + " less (± " +
                     bytes_text(static_cast<uint64_t>(found.saved.error())) +
                     ", by the samples of the heap profile), " + percent_text(saved, live) + " of " + bytes_text(live),
                 "each class keeps partly filled slabs and magazines of its own"});
}

void advise_idle_magazines(const PageBody& page, Advices& out) {
  const Snapshot& s = page.snapshot;
  const uint64_t cached = s.magazine_bytes + s.depot_bytes;
  if (s.live_bytes == 0 || cached < 16 * kMiB || cached * 4 < s.live_bytes) return;
  out.push_back({"preset", "lean",
                 bytes_text(cached) + " of free objects are cached beside " + bytes_text(s.live_bytes) + " in use",
                 "more refills and flushes"});
}

}  // namespace

bool is_set(const PageBody& page, const std::string& option) {
  const std::string lines = std::string("\n") + page.options;
  return lines.find("\n" + option + "=") != std::string::npos;
}

std::vector<Advice> recommend(const PageBody& page) {
  Advices found;
  for (const auto advise : {advise_magazines, advise_depot, advise_decommit, advise_huge_pages, advise_limit,
                            advise_nodes, advise_idle_magazines, advise_size_classes}) {
    advise(page, found);
  }
  Advices kept;
  for (Advice& advice : found) {
    if (!is_set(page, advice.option)) kept.push_back(std::move(advice));
  }
  return kept;
}

}  // namespace pm
