// The plain reference that a heap is compared with: every live object's address, size and content, and what that says
// about the statistics. The model test, the fault test and the fuzz target drive the heap through it.
//
// Single-threaded. Its own memory comes from the C library: the tests link the heap without the malloc ABI.
#ifndef POOLMALLOC_TESTS_MODEL_HEAP_ORACLE_H_
#define POOLMALLOC_TESTS_MODEL_HEAP_ORACLE_H_

#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "base/bits.h"
#include "base/compiler.h"
#include "config/options.h"
#include "heap/heap.h"
#include "os/process.h"
#include "page/page.h"
#include "runtime/runtime.h"
#include "slab/slab.h"
#include "tests/model/model.h"
#include "tests/window.h"

namespace model {

// Under a sanitizer the runtime hands every call to the C library, as a program needs it. Here the heap itself is to be
// looked at, so its layers are brought up below the runtime.
inline bool start_heap() {
  // Figures are compared with each other: nobody else may move memory between them.
  setenv("POOLMALLOC_WORKER", "off", 0);
  if (!PM_SANITIZED) return pm::start_heap();
  char complaints[256];
  pm::TextWriter writer(complaints);
  pm::Options options;
  pm::parse_options(pm::os::environment(), false, options, writer);
  HOLDS(writer.size() == 0);
  const pm::PageOptions page = {.reserve_bytes = options.reserve,
                                .dirty_bytes = options.dirty_bytes,
                                .huge = options.huge == "always"  ? pm::HugeMode::always
                                        : options.huge == "never" ? pm::HugeMode::never
                                                                  : pm::HugeMode::automatic};
  const pm::MagazineOptions magazine = {.magazine_bytes = options.magazine_bytes,
                                        .depot_bytes = options.depot_bytes,
                                        .allow_rseq = !(options.magazine == "locked"),
                                        .use_mm_cid = options.cpu_index == "mm_cid",
                                        .checked = options.check == "default"};
  if (!pm::page_init(page) || !pm::slab_init() || !pm::magazine_init(magazine)) return false;
  pm::test::place_window();
  pm::heap_view.checked = options.check == "default";
  pm::heap_view.small_limit = pm::kMaxClassSize + 1;
  return true;
}

class HeapOracle {
 public:
  // Whether nullptr is an answer that the heap may give.
  enum class Memory { plenty, scarce };

  explicit HeapOracle(Memory memory = Memory::plenty) : memory_(memory) {}
  HeapOracle(const HeapOracle&) = delete;
  HeapOracle& operator=(const HeapOracle&) = delete;
  ~HeapOracle() { clear(); }

  void set_memory(Memory memory) { memory_ = memory; }
  size_t objects() const { return objects_.size(); }
  size_t bytes() const { return bytes_; }
  uint64_t refused() const { return refused_; }

  void allocate(size_t size) {
    // Where g++ 12 knows the size to be large it warns of the table look-up that a small one would do.
    asm("" : "+r"(size));
    adopt(pm::allocate(size), size, pm::kSizeStep);
  }

  void allocate_aligned(size_t alignment, size_t size) {
    adopt(pm::allocate_aligned(alignment, size), size, alignment);
  }

  void allocate_zeroed(size_t size) {
    auto* const p = static_cast<unsigned char*>(pm::allocate_zeroed(size));
    // All equal to the first, which is zero.
    HOLDS(p == nullptr || size == 0 || (p[0] == 0 && memcmp(p, p + 1, size - 1) == 0));
    adopt(p, size, pm::kSizeStep);
  }

  void reallocate(size_t which, size_t size) {
    const Object old = objects_[which];
    verify(old, old.usable);
    void* const p = pm::reallocate(old.start, size, caller());
    if (p == nullptr) {
      refuse();
      return verify(old, old.usable);
    }
    verify({static_cast<char*>(p), old.size, old.usable, old.pattern}, old.size < size ? old.size : size);
    forget(which);
    adopt(p, size, pm::kSizeStep);
  }

  void deallocate(size_t which) {
    const Object object = objects_[which];
    verify(object, object.usable);
    forget(which);
    pm::deallocate(object.start, caller());
  }

  // As operator delete with a size does.
  void deallocate_sized(size_t which) {
    const Object object = objects_[which];
    verify(object, object.usable);
    forget(which);
    if (!pm::deallocate_sized_fast(object.start, object.size)) {
      pm::deallocate_sized_cold(object.start, object.size, caller());
    }
  }

  void verify(size_t which) const {
    const Object& object = objects_[which];
    HOLDS(pm::usable_size(object.start, caller()) == object.usable);
    verify(object, object.usable);
  }

  void verify_all() const {
    for (size_t i = 0; i < objects_.size(); ++i) verify(i);
  }

  void clear() {
    while (!objects_.empty()) deallocate(objects_.size() - 1);
  }

  static void audit() {
    pm::slab_audit();
    pm::page_audit();
  }

  // The statistics say what the reference says, and the parts add up to the whole.
  void reconcile() const {
    if (pm::serving() != pm::Serving::heap) return;  // the sanitizers' case; see start_heap
    const auto now = std::make_unique<pm::Snapshot>();
    pm::collect(*now);
    std::array<uint64_t, pm::kMaxSnapshotClasses> by_class = {};
    uint64_t large = 0;
    uint64_t large_bytes = 0;
    uint64_t large_tails = 0;
    for (const Object& object : objects_) {
      const pm::ClassId id = pm::class_at(object.start);
      if (id != pm::kNoClass) {
        ++by_class[id - 1U];
      } else {
        ++large;
        large_bytes += object.usable;
        large_tails += pm::align_up(object.usable, pm::kGranuleBytes) - object.usable;
      }
    }
    for (uint32_t i = 0; i < now->class_count; ++i) HOLDS(now->classes[i].live_objects == by_class[i]);
    HOLDS(now->live_objects == objects_.size());
    HOLDS(now->large_objects == large);
    HOLDS(now->live_large_bytes == large_bytes);
    HOLDS(now->live_bytes == bytes_);
    HOLDS(now->live_bytes == now->live_small_bytes + now->live_large_bytes);
    HOLDS(now->slab_bytes ==
          now->live_small_bytes + now->magazine_bytes + now->depot_bytes + now->slab_free_bytes + now->slab_tail_bytes);
    HOLDS(now->committed_bytes ==
          now->slab_bytes + now->live_large_bytes + large_tails + now->dirty_bytes + now->clean_bytes);
    HOLDS(now->allocations - now->frees == now->live_objects);
    HOLDS(now->large_allocations - now->large_frees == large);
    HOLDS(now->misuses == 0);
  }

 private:
  struct Object {
    char* start;
    size_t size;
    size_t usable;
    uint64_t pattern;
  };

  static const void* caller() { return reinterpret_cast<const void*>(&HeapOracle::audit); }

  // Every word of a small object; of a larger one the first of each of about 64 parts, and its last word.
  static size_t stride(const Object& object) { return object.usable <= 1024 ? 8 : pm::align_up(object.usable / 64, 8); }

  static void stamp(const Object& object) {
    for (size_t at = 0; at + 8 <= object.usable; at += stride(object)) write(object, at);
    write(object, object.usable - 8);
  }
  static void write(const Object& object, size_t at) {
    const uint64_t value = object.pattern + at;
    memcpy(object.start + at, &value, 8);
  }

  static void verify(const Object& object, size_t length) {
    for (size_t at = 0; at + 8 <= length; at += stride(object)) HOLDS(is_stamped(object, at));
    if (length == object.usable) HOLDS(is_stamped(object, length - 8));
  }
  static bool is_stamped(const Object& object, size_t at) {
    uint64_t value;
    memcpy(&value, object.start + at, 8);
    return value == object.pattern + at;
  }

  void refuse() {
    HOLDS(memory_ == Memory::scarce);
    ++refused_;
  }

  void adopt(void* p, size_t size, size_t alignment) {
    if (p == nullptr) return refuse();
    HOLDS(pm::is_aligned(pm::address_of(p), alignment));
    const size_t usable = pm::usable_size(p, caller());
    HOLDS(usable >= size && usable >= pm::kSizeStep);
    const auto [place, added] = ends_.emplace(pm::address_of(p), pm::address_of(p) + usable);
    HOLDS(added);
    HOLDS(place == ends_.begin() || std::prev(place)->second <= place->first);
    HOLDS(std::next(place) == ends_.end() || place->second <= std::next(place)->first);
    bytes_ += usable;
    patterns_ += 0x9e3779b97f4a7c15;
    objects_.push_back({static_cast<char*>(p), size, usable, patterns_});
    stamp(objects_.back());
  }

  void forget(size_t which) {
    ends_.erase(pm::address_of(objects_[which].start));
    bytes_ -= objects_[which].usable;
    objects_[which] = objects_.back();
    objects_.pop_back();
  }

  Memory memory_;
  std::vector<Object> objects_;
  std::map<uintptr_t, uintptr_t> ends_;  // by start
  size_t bytes_ = 0;                     // usable ones
  uint64_t patterns_ = 0;
  uint64_t refused_ = 0;
};

}  // namespace model

#endif  // POOLMALLOC_TESTS_MODEL_HEAP_ORACLE_H_
