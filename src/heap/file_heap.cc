#include "heap/file_heap.h"

#include <cerrno>
#include <cstring>
#include <new>

#include "base/text.h"
#include "heap/misuse.h"
#include "os/memory.h"
#include "os/process.h"

namespace pm {

struct FileHeap::Body {
  Body(Lock& lock, uint8_t owner) : extents(lock, owner) {}

  FileExtents extents;
  // Guarded by the heap's lock.
  FileSlabs slabs;
  uint64_t used = 0;
  uint64_t objects = 0;
};

namespace {

constinit FileHeap heaps[kMaxFileHeaps];
// The heaps' bodies, in pages that nobody touches before the first is made.
alignas(kCacheLine) unsigned char bodies[kMaxFileHeaps][1024];

uint32_t granules_for(size_t bytes) { return static_cast<uint32_t>(divide_up(bytes, kGranuleBytes)); }
size_t object_bytes(size_t bytes) { return align_up(bytes == 0 ? 1 : bytes, os::page_size()); }

// The heap's lock, but for a signal handler that interrupted its own thread inside a lock: what it looks at is an
// object of its own, whose record stands still.
class Look {
 public:
  explicit Look(Lock& lock, bool needed) : lock_(lock), taken_(needed && !inside_lock()) {
    if (taken_) lock_.lock();
  }
  ~Look() {
    if (taken_) lock_.unlock();
  }
  Look(const Look&) = delete;
  Look& operator=(const Look&) = delete;

 private:
  Lock& lock_;
  const bool taken_;
};

}  // namespace

unsigned FileHeap::index() const { return static_cast<unsigned>(this - heaps); }

FileHeap::Body& FileHeap::body() const {
  static_assert(sizeof(Body) <= sizeof bodies[0]);
  return *std::launder(reinterpret_cast<Body*>(bodies[index()]));
}

bool FileHeap::is_own() const { return generation_ == os::process_generation(); }

FileHeap* FileHeap::create(const FileSource& source, long& error) {
  for (FileHeap& heap : heaps) {
    State expected = State::unused;
    if (!heap.state_.compare_exchange_strong(expected, State::opening, std::memory_order_acquire)) continue;
    Body& body = *new (bodies[heap.index()]) Body(heap.lock_, static_cast<uint8_t>(kFirstFileOwner + heap.index()));
    // In a child, a thread that the parent has may have held the lock.
    if (heap.generation_ != os::process_generation()) heap.lock_.reset_in_child(false);
    heap.generation_ = os::process_generation();
    error = body.extents.open(source);
    if (error == 0 && !body.slabs.init(body.extents.first(), body.extents.granules())) {
      body.extents.close(true);
      if (source.kind == os::FileOrigin::fresh) os::remove_file(source.path);
      error = -ENOMEM;
    }
    heap.state_.store(error == 0 ? State::live : State::unused, std::memory_order_release);
    return error == 0 ? &heap : nullptr;
  }
  error = -EMFILE;
  return nullptr;
}

FileHeap* FileHeap::checked(void* handle, long& error) {
  error = -EINVAL;
  const uintptr_t offset = address_of(handle) - address_of(heaps);
  if (offset >= sizeof heaps || offset % sizeof(FileHeap) != 0) return nullptr;
  FileHeap& heap = heaps[offset / sizeof(FileHeap)];
  if (!heap.is_live()) return nullptr;
  error = 0;
  return &heap;
}

PM_START FileHeap* FileHeap::of(const void* p) {
  if (!region.contains(p)) return nullptr;
  const uint8_t owner = region.block(region.granule_of(p)).owner.load(std::memory_order_acquire);
  const unsigned index = owner - 1U - kFirstFileOwner;
  return index < kMaxFileHeaps && heaps[index].is_live() ? &heaps[index] : nullptr;
}

long FileHeap::destroy() {
  if (inside_lock()) return -EBUSY;
  // In a child, the thread that held the lock may not exist.
  if (!is_own()) lock_.reset_in_child(false);
  {
    // Whoever collects statistics is out, or will see that there are none.
    const LockGuard guard(lock_);
    state_.store(State::closing, std::memory_order_release);
  }
  body().slabs.close();
  body().extents.close(is_own());
  for (std::atomic<void*>& p : put_off_) p.store(nullptr, std::memory_order_relaxed);
  has_put_off_.store(false, std::memory_order_relaxed);
  state_.store(State::unused, std::memory_order_release);
  return 0;
}

void* FileHeap::allocate(size_t size, size_t alignment, long& error) {
  error = !is_own() ? -EPERM : inside_lock() ? -EAGAIN : body().extents.examine();
  if (error != 0) return nullptr;
  const size_t room = size_t{body().extents.granules()} << kGranuleShift;
  if (size > room || alignment > kMaxAlignment) {
    error = -ENOMEM;
    return nullptr;
  }
  const ClassId id = aligned_class_of(size, alignment);
  // Long slabs only where the heap is much longer: in a small one they would leave little for the other classes.
  constexpr uint32_t kShort = 4;
  const bool in_slab = id != kNoClass && (size_class(id).slab_granules <= kShort ||
                                          size_class(id).slab_granules <= body().extents.granules() / 32);
  void* p = nullptr;
  if (in_slab) p = allocate_small(id, error);
  // Where no whole slab fits any more, granules may.
  const bool scattered =
      in_slab && p == nullptr && error == -ENOMEM && size_class(id).slab_granules > granules_for(size);
  if (!in_slab || scattered) p = allocate_large(size, alignment, error);
  if (PM_UNLIKELY(has_put_off_.load(std::memory_order_relaxed))) release_put_off();
  return p;
}

void* FileHeap::allocate_small(ClassId id, long& error) {
  Body& b = body();
  const auto take = [&] {
    void* const p = b.slabs.take(id);
    if (p == nullptr) return p;
    b.used += size_class(id).size;
    ++b.objects;
    return p;
  };
  {
    const LockGuard guard(lock_);
    void* const p = take();
    if (p != nullptr) return p;
  }
  const uint32_t granules = size_class(id).slab_granules;
  const GranuleIndex run = b.extents.allocate(granules, granules, error);
  if (run == kNoGranule) return nullptr;
  const LockGuard guard(lock_);
  b.slabs.add(run, id);
  return take();
}

void* FileHeap::allocate_large(size_t size, size_t alignment, long& error) {
  Body& b = body();
  const size_t bytes = object_bytes(size);
  const auto granule_alignment = static_cast<uint32_t>(alignment <= kGranuleBytes ? 1 : alignment >> kGranuleShift);
  const GranuleIndex run = b.extents.allocate(granules_for(bytes), granule_alignment, error);
  if (run == kNoGranule) return nullptr;
  const LockGuard guard(lock_);
  ExtentRecord& r = region.extent(run);
  r.bytes = bytes;
  r.state.store(ExtentState::large, std::memory_order_release);
  b.used += bytes;
  ++b.objects;
  return region.address(run);
}

// What is at p. The lock is held, or p is an object of the caller's.
FileHeap::Place FileHeap::locate(const void* p) {
  const Place nothing = {What::nothing, kNoGranule, 0, 0, 0, nullptr};
  const GranuleIndex g = region.granule_of(p);
  GranuleIndex run = g;
  ExtentState state = region.extent(run).state.load(std::memory_order_acquire);
  while (state == ExtentState::none && run > body().extents.first()) {
    state = region.extent(--run).state.load(std::memory_order_acquire);
  }
  const ExtentRecord& r = region.extent(run);
  if (g - run >= r.granules) return nothing;
  if (state == ExtentState::large) {
    void* const start = region.address(run);
    return {start == p ? What::object : What::inside, run, 0, r.bytes, 0, start};
  }
  if (state != ExtentState::file_slab) return nothing;
  const FileSlabs::Slot slot = body().slabs.find(run, p);
  if (slot.object == nullptr) return nothing;
  const size_t size = size_class(body().slabs.class_of_slab(run)).size;
  const What what = !slot.exact ? What::inside : slot.is_free ? What::freed : What::object;
  return {what, run, slot.index, size, size, slot.object};
}

// True if a whole run came free.
bool FileHeap::release_locked(const Place& place) {
  Body& b = body();
  b.used -= place.size;
  --b.objects;
  if (place.class_size != 0 && !b.slabs.give(place.run, place.slot)) return false;
  b.extents.release_locked(place.run, region.extent(place.run).granules);
  return true;
}

void FileHeap::deallocate(void* p, const void* caller) {
  if (!is_own()) return;
  if (PM_UNLIKELY(inside_lock())) return put_off(p);
  Place place;
  bool run_freed = false;
  {
    const LockGuard guard(lock_);
    place = locate(p);
    if (place.what == What::object) run_freed = release_locked(place);
  }
  if (PM_UNLIKELY(place.what != What::object)) return report(place, p, "free", caller);
  if (run_freed) body().extents.trim_excess();
  if (PM_UNLIKELY(has_put_off_.load(std::memory_order_relaxed))) release_put_off();
}

void FileHeap::put_off(void* p) {
  for (std::atomic<void*>& place : put_off_) {
    void* expected = nullptr;
    // Release pairs with the acquire exchange of whoever frees it in the end.
    if (!place.compare_exchange_strong(expected, p, std::memory_order_release, std::memory_order_relaxed)) continue;
    has_put_off_.store(true, std::memory_order_release);
    return;
  }
}

void FileHeap::release_put_off() {
  if (inside_lock() || !has_put_off_.exchange(false, std::memory_order_acquire)) return;
  for (std::atomic<void*>& place : put_off_) {
    void* const p = place.exchange(nullptr, std::memory_order_acquire);
    if (p != nullptr) deallocate(p, nullptr);
  }
}

void FileHeap::report(const Place& place, const void* p, const char* call, const void* caller) {
  const bool freeing = text_equal(call, "free");
  if (place.what == What::nothing) return report_file_memory(call, p, false, caller);
  if (!freeing) return report_use_of_freed(call, p, place.class_size, caller);
  if (place.what == What::inside) return report_inside(p, place.object, place.class_size, caller);
  report_double_free(p, place.class_size, caller);
}

size_t FileHeap::find_size(const void* p, size_t& class_size) {
  const Look look(lock_, is_own());
  const Place place = locate(p);
  class_size = place.class_size;
  return place.what == What::object ? place.size : 0;
}

size_t FileHeap::usable_size(const void* p, const char* call, const void* caller) {
  Place place;
  {
    const Look look(lock_, is_own());
    place = locate(p);
  }
  if (place.what == What::object) return place.size;
  report(place, p, call, caller);
  return 0;
}

bool FileHeap::resize_large(void* p, size_t size) {
  Body& b = body();
  const GranuleIndex run = region.granule_of(p);
  ExtentRecord& r = region.extent(run);
  const size_t bytes = object_bytes(size);
  const uint32_t wanted = granules_for(bytes);
  // Its length changes by its owner only, which is the caller.
  if (wanted > r.granules && !b.extents.extend(run, r.granules, wanted)) return false;
  const LockGuard guard(lock_);
  const uint32_t behind = r.granules - wanted;
  r.granules = wanted;
  if (behind != 0) b.extents.release_locked(run + wanted, behind);
  b.used += bytes - r.bytes;
  r.bytes = bytes;
  return true;
}

void* FileHeap::reallocate(void* p, size_t size, const void* caller, long& error) {
  error = !is_own() ? -EPERM : inside_lock() ? -EAGAIN : 0;
  if (error != 0) return nullptr;
  error = -EINVAL;
  size_t class_size = 0;
  const size_t old_size = find_size(p, class_size);
  if (old_size == 0) {
    usable_size(p, "realloc", caller);
    return nullptr;
  }
  error = size > old_size ? body().extents.examine() : 0;
  if (error != 0) return nullptr;
  if (class_size != 0) {
    if (size <= old_size && size >= old_size / 2) return p;
  } else if (size > kMaxClassSize && size <= size_t{body().extents.granules()} << kGranuleShift &&
             resize_large(p, size)) {
    body().extents.trim_excess();
    return p;
  }
  void* const moved = allocate(size, kSizeStep, error);
  if (moved == nullptr) {
    if (size > old_size) return nullptr;
    error = 0;
    return p;
  }
  memcpy(moved, p, old_size < size ? old_size : size);
  deallocate(p, caller);
  return moved;
}

uint64_t FileHeap::trim(uint64_t goal) { return is_own() && !inside_lock() ? body().extents.trim(goal) : 0; }

bool FileHeap::collect(FileHeapStatistics& out) {
  // The generation is read before the lock is asked for: in a child that might be held by nobody.
  if (!is_live() || !is_own() || inside_lock()) return false;
  out = {};
  uintptr_t records = 0;
  size_t bytes = 0;
  {
    const LockGuard guard(lock_);
    if (!is_live()) return false;
    const Body& b = body();
    out.size = uint64_t{b.extents.granules()} << kGranuleShift;
    out.used = b.used;
    out.free = b.extents.free_granules_locked() << kGranuleShift;
    out.largest = uint64_t{b.extents.largest_locked()} << kGranuleShift;
    out.backed = b.extents.backed_granules_locked() << kGranuleShift;
    out.objects = b.objects;
    records = b.slabs.records_start();
    bytes = b.slabs.records_bytes();
  }
  out.record_bytes = os::resident_bytes(records, bytes);
  return true;
}

void FileHeap::audit() {
  const LockGuard guard(lock_);
  body().extents.audit_locked();
  body().slabs.audit();
}

FileHeapSum file_heap_sum() {
  FileHeapSum sum = {};
  for (FileHeap& heap : heaps) {
    FileHeapStatistics now;
    if (!heap.collect(now)) continue;
    ++sum.heaps;
    sum.used_bytes += now.used;
    sum.mapped_bytes += now.size;
    sum.backed_bytes += now.backed;
    sum.record_bytes += now.record_bytes;
  }
  return sum;
}

}  // namespace pm
