#include "page/huge_advice.h"

#include "os/memory.h"
#include "os/process.h"
#include "page/granule.h"

namespace pm {
namespace {

// Below this a heap wins little, and a half-used huge page is a noticeable part of it.
constexpr size_t kLargeHeap = 64 * kMiB;
// What 512 small pages cost to touch, at half a microsecond each, with some allowance.
constexpr uint64_t kDearNanoseconds = 300'000;
constexpr uint32_t kMostPatience = 64;

}  // namespace

// The page is touched for good: it is about to be used.
bool HugeAdvice::is_cheap(uintptr_t start) {
  const uint64_t before = os::monotonic_ns();
  if (!os::memory().populate(start, kBlockBytes)) return false;
  return os::monotonic_ns() - before <= kDearNanoseconds;
}

void HugeAdvice::advise(uintptr_t start, size_t bytes, size_t heap_bytes) {
  if (mode_ == HugeMode::never || (mode_ == HugeMode::automatic && heap_bytes < kLargeHeap)) return;
  if (mode_ == HugeMode::automatic) {
    const uint32_t wait = wait_.load(std::memory_order_relaxed);
    if (wait > 0) {
      wait_.store(wait - 1, std::memory_order_relaxed);
      return;
    }
    if (!os::memory().advise_huge(start, kBlockBytes)) return;
    splits_.fetch_add(1, std::memory_order_relaxed);
    advised_.fetch_add(kBlockBytes, std::memory_order_relaxed);
    if (!is_cheap(start)) {
      const uint32_t patience = patience_.load(std::memory_order_relaxed);
      wait_.store(patience, std::memory_order_relaxed);
      if (patience < kMostPatience) patience_.store(patience * 2, std::memory_order_relaxed);
      return;
    }
    start += kBlockBytes;
    bytes -= kBlockBytes;
  }
  if (bytes != 0 && os::memory().advise_huge(start, bytes)) advised_.fetch_add(bytes, std::memory_order_relaxed);
}

}  // namespace pm
