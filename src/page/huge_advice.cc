#include "page/huge_advice.h"

#include "os/memory.h"
#include "os/thread.h"
#include "page/huge_blocks.h"
#include "page/mapping_budget.h"

namespace pm {
namespace {

// What 512 small pages cost to touch, at half a microsecond each, with some allowance.
constexpr uint64_t kDearNanoseconds = 300'000;
constexpr uint32_t kMostPatience = 64;
constexpr size_t kControlShare = 8;
constexpr uint64_t kSamplesPerControl = 4;

uintptr_t block_address(uint32_t block) { return region_view.base + size_t{block} * kBlockBytes; }

}  // namespace

HugeAdvice huge_advice;

PM_START void HugeAdvice::set_mode(HugeMode mode) {
  if (mode != HugeMode::never) ever_huge_.store(true, std::memory_order_relaxed);
  mode_.store(mode, std::memory_order_relaxed);
}

void HugeAdvice::set_lent(bool lent) {
  if (lent != is_lent()) lent_.store(lent, std::memory_order_relaxed);
}

// All memory was mapped with advice against huge pages.
bool HugeAdvice::knows_no_huge() const {
  return mode() == HugeMode::never && !ever_huge_.load(std::memory_order_relaxed);
}

// The administrator's mode, read once, when the heap first is worth it.
uint8_t HugeAdvice::policy() {
  uint8_t known = policy_.load(std::memory_order_relaxed);
  if (known == 0) {
    known = static_cast<uint8_t>(static_cast<uint8_t>(os::memory().huge_policy()) + 1);
    policy_.store(known, std::memory_order_relaxed);
  }
  return static_cast<uint8_t>(known - 1);
}

bool HugeAdvice::allows_huge() {
  const HugeMode now = mode();
  if (now == HugeMode::never) return false;
  if (now != HugeMode::automatic) return true;
  return policy() != static_cast<uint8_t>(os::HugePolicy::never);
}

bool HugeAdvice::ask(uintptr_t start, size_t bytes, uint32_t splits) {
  if (!mapping_budget.take(splits)) return false;
  if (!os::memory().advise_huge(start, bytes)) {
    mapping_budget.note_refusal(splits);
    return false;
  }
  const auto first = static_cast<uint32_t>((start - region_view.base) / kBlockBytes);
  for (uint32_t b = first; b < first + bytes / kBlockBytes; ++b) {
    drop_huge_bits(b, kIsBarred);
    add_huge_bits(b, kIsAdvised);
  }
  return true;
}

// The page is touched for good: it is about to be used. By CPU time: the clock on the wall would tell who else wants
// the CPU.
bool HugeAdvice::is_cheap(uintptr_t start) {
  const uint64_t before = os::thread_cpu_ns();
  if (!os::memory().populate(start, kBlockBytes)) return false;
  return os::thread_cpu_ns() - before <= kDearNanoseconds;
}

void HugeAdvice::note_control(uintptr_t start, size_t bytes) {
  const uint64_t first = (start - region_view.base) / kBlockBytes;
  const uint32_t at = next_control_.fetch_add(1, std::memory_order_relaxed) % kControls;
  controls_[at].store(first << kCountBits | bytes / kBlockBytes, std::memory_order_relaxed);
}

// Blocks that nobody has touched say nothing, and cost nothing either.
bool HugeAdvice::is_dense() const {
  size_t touched = 0;
  size_t resident = 0;
  for (const std::atomic<uint64_t>& control : controls_) {
    const uint64_t chunk = control.load(std::memory_order_relaxed);
    const uint64_t blocks = chunk & low_bits(kCountBits);
    const uint64_t step = blocks <= kSamplesPerControl ? 1 : blocks / kSamplesPerControl;
    for (uint64_t i = 0; i < blocks; i += step) {
      const auto block = static_cast<uint32_t>((chunk >> kCountBits) + i);
      // A collapsed block is resident whatever it was before.
      if (has_huge_bits(block, kIsHuge)) continue;
      const size_t here = os::memory().resident(block_address(block), kBlockBytes);
      resident += here;
      if (here != 0) touched += kBlockBytes;
    }
  }
  const size_t least = is_lent() ? kLeastResidentLent : kLeastResident;
  return touched != 0 && resident >= touched / kBlockBytes * least;
}

PM_START void HugeAdvice::advise(uintptr_t start, size_t bytes, size_t heap_bytes) {
  switch (mode()) {
    case HugeMode::collapse:
    case HugeMode::hugetlb: return;
    case HugeMode::never:
      // Neighbouring chunks merge.
      os::memory().advise_small(start, bytes);
      return;
    case HugeMode::always:
      if (ask(start, bytes, 1)) advised_.fetch_add(bytes, std::memory_order_relaxed);
      return;
    case HugeMode::automatic: break;
  }
  if (heap_bytes < (is_lent() ? kLargeLentHeap : kLargeHeap)) return note_control(start, bytes);
  // Where the kernel makes huge pages by itself, advice adds nothing but mappings.
  if (policy() != static_cast<uint8_t>(os::HugePolicy::on_advice)) return;
  // Many threads may find the heap used up at once, and each grows it by a chunk. If each touched a page of its own,
  // the heap would be larger by as many for a long time: a thousand threads left 26 MiB more resident than two.
  if (asking_.exchange(true, std::memory_order_relaxed)) return note_control(start, bytes);
  if (!is_lent()) {
    advise_when_dense(start, bytes);
  } else if (!is_dense()) {
    note_control(start, bytes);
  } else if (ask(start, bytes, 1)) {
    advised_.fetch_add(bytes, std::memory_order_relaxed);
  }
  asking_.store(false, std::memory_order_relaxed);
}

void HugeAdvice::advise_when_dense(uintptr_t start, size_t bytes) {
  const uint32_t wait = wait_.load(std::memory_order_relaxed);
  if (wait > 0) wait_.store(wait - 1, std::memory_order_relaxed);
  if (wait > 0 || bytes < 2 * kBlockBytes || !is_dense()) return note_control(start, bytes);
  const size_t control = divide_up(bytes / kBlockBytes, kControlShare) * kBlockBytes;
  note_control(start, control);
  start += control;
  bytes -= control;
  if (!ask(start, kBlockBytes, 2)) return;
  advised_.fetch_add(kBlockBytes, std::memory_order_relaxed);
  if (!is_cheap(start)) {
    const uint32_t patience = patience_.load(std::memory_order_relaxed);
    wait_.store(patience, std::memory_order_relaxed);
    if (patience < kMostPatience) patience_.store(patience * 2, std::memory_order_relaxed);
    return note_control(start + kBlockBytes, bytes - kBlockBytes);
  }
  add_huge_bits(static_cast<uint32_t>((start - region_view.base) / kBlockBytes), kIsHuge);
  start += kBlockBytes;
  bytes -= kBlockBytes;
  if (bytes != 0 && ask(start, bytes, 1)) advised_.fetch_add(bytes, std::memory_order_relaxed);
}

void HugeAdvice::bar(uint32_t block) {
  if (has_huge_bits(block, kIsBarred | kIsHugetlbfs)) return;
  // Without advice, khugepaged comes by in mode `always` only.
  if (!has_huge_bits(block, kIsAdvised) && policy() != static_cast<uint8_t>(os::HugePolicy::always)) return;
  if (!mapping_budget.take(2)) return;
  if (!os::memory().advise_small(block_address(block), kBlockBytes)) return mapping_budget.note_refusal(2);
  add_huge_bits(block, kIsBarred);
}

void HugeAdvice::bar_partial(GranuleIndex first, uint32_t granules) {
  if (knows_no_huge() || granules == 0) return;
  const GranuleIndex end = first + granules;
  const bool is_one = first / kBlockGranules == (end - 1) / kBlockGranules;
  if (is_one) {
    if (granules != kBlockGranules) bar(first / kBlockGranules);
    return;
  }
  if (first % kBlockGranules != 0) bar(first / kBlockGranules);
  if (end % kBlockGranules != 0) bar(end / kBlockGranules);
}

void HugeAdvice::bar_touched(GranuleIndex first, uint32_t granules) {
  if (!knows_no_huge()) each_touched_block(first, granules, [&](uint32_t b) { bar(b); });
}

bool HugeAdvice::readmit(uint32_t block) {
  return !has_huge_bits(block, kIsBarred) || ask(block_address(block), kBlockBytes, 2);
}

void HugeAdvice::readmit_whole(GranuleIndex first, uint32_t granules) {
  const auto begin = static_cast<uint32_t>(divide_up(first, kBlockGranules));
  const uint32_t end = (first + granules) / kBlockGranules;
  const bool all = begin < end && is_lent() && mode() == HugeMode::automatic &&
                   policy() == static_cast<uint8_t>(os::HugePolicy::on_advice) && is_dense();
  for (uint32_t b = begin; b < end; ++b) {
    // With the advice it had before, it merges with its neighbours.
    if (has_huge_bits(b, kIsBarred)) {
      readmit(b);
    } else if (all && !has_huge_bits(b, kIsAdvised | kIsHugetlbfs) && ask(block_address(b), kBlockBytes, 2)) {
      advised_.fetch_add(kBlockBytes, std::memory_order_relaxed);
    }
  }
}

}  // namespace pm
