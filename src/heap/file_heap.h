// File heaps: objects in a file that is mapped into the region's window (page/file_extents.h), for data that should
// live on slower or shared memory.
//
// A heap has an owner id of its own, so that the address of an object tells its heap: free(), realloc() and
// malloc_usable_size() work on such objects as on all others, and realloc() leaves them in their heap. Small objects
// come from slabs whose records lie outside the file (heap/file_slabs.h), larger ones are extents.
//
// One lock for each heap guards all of it; no system call is made under it. It nests in nothing of ours, and in it only
// what a signal handler does that interrupted its thread there: such a handler may take the locks of other memory. A
// handler that interrupted its own thread inside any lock of ours never waits for a heap's: it is refused memory, and
// what it frees is kept for the next caller, up to kPutOff objects; beyond that they stay allocated until the heap
// goes.
//
// In a forked child the mapping is shared with the parent and the records are a copy: the child may read and write
// objects, but is refused memory, and its frees are ignored. Heaps know their process by os::process_generation(), not
// by a fork handler. The handles live for ever, so that a stale one is refused as long as its place is empty; who
// destroys a heap makes sure that nobody else is at it or its objects, but statistics may be.
#pragma once

#include <atomic>
#include <cstdint>

#include "heap/file_slabs.h"
#include "page/file_extents.h"

namespace pm {

inline constexpr unsigned kMaxFileHeaps = 32;

struct FileHeapStatistics {
  uint64_t size;     // bytes of the file
  uint64_t used;     // in objects, slack included
  uint64_t free;     // whole granules that nothing has
  uint64_t largest;  // of them, in one piece
  uint64_t backed;   // bytes that have blocks in the file
  uint64_t objects;
  uint64_t record_bytes;  // resident, of our own
};

class FileHeap {
 public:
  constexpr FileHeap() = default;

  // nullptr and -errno: -EMFILE if there are kMaxFileHeaps, or what FileExtents::open says.
  static FileHeap* create(const FileSource& source, long& error);
  // The heap that a handle names; nullptr and -EINVAL if it names none.
  static FileHeap* checked(void* handle, long& error);
  // The heap that p lies in, nullptr for all other memory. Says nothing about whether an object is there.
  static FileHeap* of(const void* p);

  // 0, or -EBUSY in a signal handler inside a lock. Its objects are gone afterwards.
  long destroy();

  // alignment is a power of two. nullptr: `error` is as FileExtents::allocate says, -EPERM in a forked child, -EAGAIN
  // in a signal handler inside a lock.
  void* allocate(size_t size, size_t alignment, long& error);
  void deallocate(void* p, const void* caller);
  // p is not null. Shrinking does not fail for want of room.
  void* reallocate(void* p, size_t size, const void* caller, long& error);
  // Bytes the owner of p may use; 0 and one line that names `call` if there is no live object at p.
  size_t usable_size(const void* p, const char* call, const void* caller);
  // The same without a line; class_size is 0 for a large object.
  size_t find_size(const void* p, size_t& class_size);
  uint64_t trim(uint64_t goal);
  // False if the heap is going or another process's.
  bool collect(FileHeapStatistics& out);
  // Debug: every structure.
  void audit();

 private:
  static constexpr unsigned kPutOff = 16;
  enum class State : uint8_t { unused, opening, live, closing };
  enum class What : uint8_t { object, freed, inside, nothing };
  struct Body;
  struct Place {
    What what;
    GranuleIndex run;
    uint32_t slot;
    size_t size;
    size_t class_size;
    void* object;
  };

  unsigned index() const;
  Body& body() const;
  bool is_own() const;
  bool is_live() const { return state_.load(std::memory_order_acquire) == State::live; }
  void* allocate_small(ClassId id, long& error);
  void* allocate_large(size_t size, size_t alignment, long& error);
  bool resize_large(void* p, size_t size);
  Place locate(const void* p);
  bool release_locked(const Place& place);
  void put_off(void* p);
  void release_put_off();
  static void report(const Place& place, const void* p, const char* call, const void* caller);

  Lock lock_{LockRank::file_heap};
  // Written by the one thread that creates or destroys; release publishes the body, which acquire receives.
  std::atomic<State> state_{State::unused};
  std::atomic<bool> has_put_off_{false};
  uint64_t generation_ = 0;  // of the process that made it; constant while live
  std::atomic<void*> put_off_[kPutOff] = {};
};

struct FileHeapSum {
  uint64_t heaps, used_bytes, mapped_bytes, backed_bytes, record_bytes;
};
FileHeapSum file_heap_sum();

}  // namespace pm
