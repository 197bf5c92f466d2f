// A large array of records whose address space is reserved whole and whose pages are committed range by range. Records
// are never unmapped, so a stale index reads an old record, never a hole. Fresh records are zero.
#pragma once

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
    return os::memory().commit(start, end - start);
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

 private:
  static void zero(uintptr_t start, uintptr_t end) { memset(reinterpret_cast<void*>(start), 0, end - start); }

  Record* base_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace pm
