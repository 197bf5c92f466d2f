// Whether to ask for 2 MiB pages for freshly mapped memory.
//
// A huge page saves 511 faults and most TLB misses, and as a rule costs less to touch than the small pages it replaces.
// Where the host of a virtual machine has taken free memory back, it costs 2 to 7 ms instead, ten times the small ones.
// So `auto` does not assume: on a heap that is large and growing it touches the first huge page of a chunk and looks at
// the clock. If that was dear, the chunk gets small pages, and the next look waits twice as long.
//
// Thread-safe; relaxed, because every value is a hint.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pm {

enum class HugeMode : uint8_t { never, automatic, always };

class HugeAdvice {
 public:
  void set_mode(HugeMode mode) { mode_ = mode; }
  // Called for each fresh chunk, a multiple of a huge block, outside of all locks.
  void advise(uintptr_t start, size_t bytes, size_t heap_bytes);

  uint64_t advised_bytes() const { return advised_.load(std::memory_order_relaxed); }
  // Kernel mappings that advice has split off, at most.
  uint64_t splits() const { return splits_.load(std::memory_order_relaxed); }

 private:
  bool is_cheap(uintptr_t start);

  HugeMode mode_ = HugeMode::never;
  std::atomic<uint32_t> wait_{0};      // chunks to let pass before the next look
  std::atomic<uint32_t> patience_{4};  // and how many after the next dear one
  std::atomic<uint64_t> advised_{0};
  std::atomic<uint64_t> splits_{0};
};

}  // namespace pm
