#include "page/hugetlb.h"

#include "base/text.h"
#include "os/memory.h"
#include "os/process.h"
#include "page/huge_blocks.h"
#include "page/mapping_budget.h"

namespace pm {
namespace {

uintptr_t block_address(uint32_t block) { return region_view.base + size_t{block} * kBlockBytes; }

// The blocks of the page of hugetlbfs that covers `block`; one block if it is ordinary.
uint32_t page_blocks(uint32_t block) { return has_huge_bits(block, kIsGigantic) ? kGiganticBlocks : 1; }
uint32_t page_start(uint32_t block) {
  // The window starts at a whole gibibyte.
  return has_huge_bits(block, kIsGigantic) ? static_cast<uint32_t>(align_down(block, kGiganticBlocks)) : block;
}

void write_to_stderr(void*, const char* data, size_t size) { os::write_all(2, data, size); }

}  // namespace

Hugetlb hugetlb_pages;

bool Hugetlb::map_blocks(uint32_t block, uint32_t count, uint8_t kind) {
  if (count == 0) return true;
  const size_t page = kind == kIsGigantic ? size_t{kGiB} : kBlockBytes;
  if (!mapping_budget.take(2)) return false;
  if (!os::memory().map_hugetlb(block_address(block), count * kBlockBytes, page)) {
    mapping_budget.give_back(2);
    return false;
  }
  for (uint32_t b = block; b < block + count; ++b) region.block_at(b).huge.store(kind, std::memory_order_relaxed);
  bytes_.fetch_add(count * kBlockBytes, std::memory_order_relaxed);
  return true;
}

// Ordinary pages for what is reserved, or on pages of hugetlbfs.
bool Hugetlb::replace(uint32_t block, uint32_t count) {
  if (count == 0) return true;
  if (!os::memory().replace(block_address(block), count * kBlockBytes)) return false;
  forget(block, count);
  return true;
}

void Hugetlb::forget(uint32_t block, uint32_t count) {
  for (uint32_t b = block; b < block + count; ++b) {
    if (!has_huge_bits(b, kIsHugetlbfs)) continue;
    region.block_at(b).huge.store(0, std::memory_order_relaxed);
    bytes_.fetch_sub(kBlockBytes, std::memory_order_relaxed);
  }
}

PM_START bool Hugetlb::map(GranuleIndex first, uint32_t granules) {
  if (!enabled_) return false;
  const uint32_t block = first / kBlockGranules;
  const uint32_t end = block + granules / kBlockGranules;
  // Whole gibibytes in the middle; the window starts at one.
  const auto middle = static_cast<uint32_t>(align_up(block, kGiganticBlocks));
  const auto middle_end = static_cast<uint32_t>(align_down(end, kGiganticBlocks));
  if (middle < middle_end && map_blocks(middle, middle_end - middle, kIsGigantic)) {
    // Head and tail get what they can: part of the chunk is committed now, so it cannot be refused any more.
    if (finish(block, middle - block) && finish(middle_end, end - middle_end)) return true;
    forget(block, end - block);
    return false;
  }
  if (map_blocks(block, end - block, kIsHugetlb)) return true;
  note_fallback((end - block) * kBlockBytes);
  return false;
}

bool Hugetlb::finish(uint32_t block, uint32_t count) {
  if (map_blocks(block, count, kIsHugetlb)) return true;
  note_fallback(count * kBlockBytes);
  return replace(block, count);
}

void Hugetlb::note_fallback(size_t bytes) {
  if (fallbacks_.fetch_add(1, std::memory_order_relaxed) != 0) return;
  char line[192];
  TextWriter out(line, write_to_stderr);
  out.text("poolmalloc: no hugetlbfs pages for ").bytes(bytes);
  out.text(" (vm.nr_hugepages); using ordinary pages\n");
  out.flush();
}

void Hugetlb::clip(GranuleIndex& first, uint32_t& granules) {
  GranuleIndex end = first + granules;
  // Each end inside a page moves inward, past that page.
  const uint32_t head = first / kBlockGranules;
  if (has_huge_bits(head, kIsHugetlbfs) && first != page_start(head) * kBlockGranules) {
    first = (page_start(head) + page_blocks(head)) * kBlockGranules;
  }
  const uint32_t tail = (end - 1) / kBlockGranules;
  if (has_huge_bits(tail, kIsHugetlbfs) && end != (page_start(tail) + page_blocks(tail)) * kBlockGranules) {
    end = page_start(tail) * kBlockGranules;
  }
  granules = end > first ? end - first : 0;
}

bool Hugetlb::decommit(GranuleIndex first, uint32_t granules) {
  const GranuleIndex end = first + granules;
  for (GranuleIndex at = first; at < end;) {
    const uint32_t block = at / kBlockGranules;
    GranuleIndex next = (block + page_blocks(block)) * kBlockGranules;
    if (next > end) next = end;
    if (has_huge_bits(block, kIsHugetlbfs)) {
      if (!mapping_budget.take(2)) return false;
      if (!replace(block, page_blocks(block))) {
        mapping_budget.note_refusal(2);
        return false;
      }
    } else {
      const os::PageRange range = {address_of(region.address(at)), size_t{next - at} << kGranuleShift};
      if (os::memory().decommit(&range, 1) != range.bytes) return false;
    }
    at = next;
  }
  return true;
}

bool touches_hugetlb(GranuleIndex first, uint32_t granules) {
  if (!hugetlb_pages.enabled()) return false;
  bool found = false;
  each_touched_block(first, granules, [&](uint32_t b) { found = found || has_huge_bits(b, kIsHugetlbfs); });
  return found;
}

}  // namespace pm
