// A large array of records whose address space is reserved whole and whose pages are committed range by range. Records
// are never unmapped, so a stale index reads an old record, never a hole. Fresh records are zero.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/bits.h"
#include "os/memory.h"
#include "os/process.h"

namespace pm {

template <typename Record>
class Table {
 public:
  // False if the address space is refused.
  bool reserve(size_t count) {
    bytes_ = align_up(count * sizeof(Record), os::page_size());
    base_ = static_cast<Record*>(os::memory().reserve(0, bytes_));
    used_.store(0, std::memory_order_relaxed);
    return base_ != nullptr;
  }

  void release() {
    if (base_ != nullptr) os::memory().release(address_of(base_), bytes_);
    base_ = nullptr;
  }

  // Makes records [first, first + count) usable. Idempotent and thread-safe: pages at the edges may be committed twice.
  bool commit(size_t first, size_t count) {
    const size_t page = os::page_size();
    const uintptr_t start = align_down(address_of(base_ + first), page);
    const uintptr_t end = align_up(address_of(base_ + first + count), page);
    if (!os::memory().commit(start, end - start)) return false;
    for (size_t part = part_of(start); part <= part_of(end - 1); ++part) {
      if ((used_.load(std::memory_order_relaxed) >> part & 1) == 0) {
        used_.fetch_or(uint64_t{1} << part, std::memory_order_relaxed);
      }
    }
    return true;
  }

  // Makes records [first, first + count), which are committed, zero again; nobody else may be at them.
  void clear(size_t first, size_t count) {
    const size_t page = os::page_size();
    const uintptr_t start = address_of(base_ + first);
    const uintptr_t end = address_of(base_ + first + count);
    const os::PageRange inner = {align_up(start, page), align_down(end, page) - align_up(start, page)};
    if (align_down(end, page) <= inner.start || os::memory().decommit(&inner, 1) != inner.bytes) {
      return zero(start, end);
    }
    zero(start, inner.start);
    zero(inner.start + inner.bytes, end);
  }

  Record& operator[](size_t i) const { return base_[i]; }
  Record* data() const { return base_; }
  uintptr_t start() const { return address_of(base_); }
  size_t reserved_bytes() const { return bytes_; }
  // Looks at those parts only of which something was committed: tables for large windows are nearly all untouched, and
  // to ask the kernel about a gibibyte takes milliseconds.
  size_t resident_bytes() const {
    size_t sum = 0;
    const size_t part = part_bytes();
    for (size_t i = 0; i < kParts; ++i) {
      if ((used_.load(std::memory_order_relaxed) >> i & 1) == 0) continue;
      sum += os::resident_bytes(start() + i * part, i * part + part < bytes_ ? part : bytes_ - i * part);
    }
    return sum;
  }

 private:
  static constexpr size_t kParts = 64;

  size_t part_bytes() const { return align_up(divide_up(bytes_, kParts), os::page_size()); }
  size_t part_of(uintptr_t address) const { return (address - address_of(base_)) / part_bytes(); }
  static void zero(uintptr_t start, uintptr_t end) { memset(reinterpret_cast<void*>(start), 0, end - start); }

  Record* base_ = nullptr;
  size_t bytes_ = 0;
  std::atomic<uint64_t> used_{0};  // which 64ths have committed records; relaxed: a hint for resident_bytes
};

}  // namespace pm
