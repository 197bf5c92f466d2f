// Advice about transparent huge pages of 2 MiB: for fresh chunks, and for blocks of which a part is decommitted.
//
// A huge page saves 511 faults and most TLB misses, and as a rule costs less to touch than the small pages it replaces.
// It is dear in two cases, and `auto` assumes neither but looks:
//   memory   A program that touches little of what it allocates gets all of it. So before a chunk gets advice, the
//            share of resident pages is taken, by mincore, over blocks that got none: at least 95 % of the pages of
//            those that were touched at all, else none. The first eighth of each chunk goes without, so that the
//            sample stays fresh. Three quarters are enough where memory goes to and fro between processes under one
//            limit (`set_lent`): what one gives back there the other waits for, again and again, and a huge page comes
//            with one fault and goes with one step. Then its time does not count either, nor is an eighth left out.
//   time     Where the host of a virtual machine has taken free memory back, a huge page costs 2 to 7 ms to touch, ten
//            times the small ones. The first huge page of a chunk is touched under the clock. If that was dear, the
//            chunk gets small pages, and the next look waits twice as long.
//
// Where the kernel is in mode `always` it makes huge pages without being asked, and khugepaged makes one of any block
// with a single page in it: what was decommitted inside comes back. The same goes for blocks that got advice. So a
// block of which a part is decommitted is barred from huge pages (MADV_NOHUGEPAGE), until it comes free whole or is
// collapsed. prctl(PR_SET_THP_DISABLE) would split no mapping, but is for the whole process and its children.
//
// Thread-safe; relaxed, because every value is a hint. System calls only outside of all locks.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/compiler.h"
#include "page/granule.h"

namespace pm {

// As the option `huge`: collapse by page_collapse alone, hugetlb by pages of hugetlbfs (hugetlb.h).
enum class HugeMode : uint8_t { never, automatic, always, collapse, hugetlb };

// Below this a heap wins little, and a half-used huge page is a noticeable part of it.
inline constexpr size_t kLargeHeap = 64 * kMiB;
// The same where memory is lent to and fro.
inline constexpr size_t kLargeLentHeap = 8 * kMiB;
// What a huge page may waste: a block whose pages are not all but a twentieth resident gets none.
inline constexpr size_t kLeastResident = kBlockBytes - kBlockBytes / 20;
inline constexpr size_t kLeastResidentLent = kBlockBytes - kBlockBytes / 4;

class HugeAdvice {
 public:
  // Once at start, or later among the modes that are not hugetlb: advice given before stays.
  void set_mode(HugeMode mode);
  HugeMode mode() const { return mode_.load(std::memory_order_relaxed); }
  // Whether memory goes to and fro between this process and others under the same limit. By the worker.
  void set_lent(bool lent);
  // Whether transparent huge pages are to be had and wanted at all.
  bool allows_huge();

  // Called for each fresh chunk, a multiple of a huge block.
  void advise(uintptr_t start, size_t bytes, size_t heap_bytes);
  // Called before a run is decommitted, for the huge blocks it covers in part, and after, for those it covers whole:
  // what was barred is admitted again; where memory is lent all of it gets advice, so that it comes back huge.
  void bar_partial(GranuleIndex first, uint32_t granules);
  // The same for a run of which pages here and there are decommitted.
  void bar_touched(GranuleIndex first, uint32_t granules);
  void readmit_whole(GranuleIndex first, uint32_t granules);
  // Lets a barred block be huge again. False if that is refused.
  bool readmit(uint32_t block);

  void after_fork_child() { asking_.store(false, std::memory_order_relaxed); }

  uint64_t advised_bytes() const { return advised_.load(std::memory_order_relaxed); }

 private:
  void advise_when_dense(uintptr_t start, size_t bytes);
  bool is_lent() const { return lent_.load(std::memory_order_relaxed); }
  bool ask(uintptr_t start, size_t bytes, uint32_t splits);
  void bar(uint32_t block);
  bool is_cheap(uintptr_t start);
  bool is_dense() const;
  bool knows_no_huge() const;
  void note_control(uintptr_t start, size_t bytes);
  uint8_t policy();

  // Runs of blocks without advice, as first block and number of blocks, the latest ones.
  static constexpr unsigned kControls = 8;
  static constexpr unsigned kCountBits = 24;

  std::atomic<HugeMode> mode_{HugeMode::never};
  std::atomic<bool> ever_huge_{false};  // some mode but never was in force
  std::atomic<bool> lent_{false};
  std::atomic<uint8_t> policy_{0};     // os::HugePolicy plus one; 0 until it was asked for
  std::atomic<uint32_t> wait_{0};      // chunks to let pass before the next look
  std::atomic<uint32_t> patience_{4};  // and how many after the next dear one
  std::atomic<uint64_t> advised_{0};
  // A thread is asking for a dense heap's chunk. Relaxed: guards no data, and who finds it set goes without.
  std::atomic<bool> asking_{false};
  std::atomic<uint32_t> next_control_{0};
  std::atomic<uint64_t> controls_[kControls] = {};
};

extern PM_SHARED HugeAdvice huge_advice;

}  // namespace pm
