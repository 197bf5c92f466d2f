// A file as a source of extents: mapped into the region's window, with free extents of its own.
//
// The file has its full length from the start, but blocks only where memory was handed out: an allocation reserves them
// (fallocate(2)) before anybody may write, so that a full disk is an error of the allocation and never a SIGBUS later.
// A granule's dirty bit says that its blocks are there; Extents prefers such granules, and clean ones are holes.
//
// Of the file's state it trusts nothing: that it is still the same file under the descriptor, and as long as it was, is
// looked up before each reservation. Once it is not, the source refuses for good.
//
// Synchronised by the lock that the owner passes in: what says "locked" is called with it held, all else takes it. It
// is never held across a system call: runs that are being reserved or punched are out of the trees (state busy)
// meanwhile, and whoever finds nothing else waits for those to come back.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/lock.h"
#include "os/mapped_file.h"
#include "page/extents.h"

namespace pm {

struct FileSource {
  const char* path;
  os::FileOrigin kind;
  bool sync;
  uint64_t bytes;  // a multiple of a granule
};

class FileExtents {
 public:
  FileExtents(Lock& lock, uint8_t owner) : lock_(lock), owner_(owner), extents_(owner) {}

  // 0 or -errno; then nothing is left behind.
  long open(const FileSource& source);
  // Gives mapping, claim and descriptor back, and the file's lock unless it is a parent's. Nobody may be at this object
  // or at its memory.
  void close(bool unlock);

  // A run that nobody else sees (state busy), with blocks behind all of it. kNoGranule: `error` is -ENOMEM if no free
  // run is long enough, -EIO if the file is not what it was, or what the file system said.
  GranuleIndex allocate(uint32_t granules, uint32_t alignment, long& error);
  // Makes the run at `first` longer, blocks included; false if it cannot be.
  bool extend(GranuleIndex first, uint32_t granules, uint32_t wanted);
  void release_locked(GranuleIndex first, uint32_t granules) { extents_.release(first, granules); }
  // Punches free granules until `goal` bytes of blocks went back to the file system; returns the bytes.
  uint64_t trim(uint64_t goal);
  // After a release: punches if free granules hold many more blocks than a running program will want back.
  void trim_excess();

  // 0, or -EIO if the file is not what it was: a system call, unless the file has no name that anybody could have
  // truncated it by.
  long examine() { return is_named_ || is_broken() ? look() : 0; }

  GranuleIndex first() const { return chunk_.first; }
  uint32_t granules() const { return granules_; }
  uint64_t free_granules_locked() const { return extents_.free_granules(); }
  uint32_t largest_locked() const { return extents_.largest_granules(); }
  // Granules that have blocks behind them, up to what is under way.
  uint64_t backed_granules_locked() const { return granules_ - extents_.free_granules() + extents_.dirty_granules(); }
  void audit_locked() const { extents_.audit(); }

 private:
  struct Run {
    GranuleIndex first;
    uint32_t granules;
    bool backed;
  };

  bool is_broken() const { return broken_.load(std::memory_order_relaxed); }
  bool is_ours(const os::MappedFileState& now) const {
    return now.device == opened_.device && now.inode == opened_.inode;
  }
  long look();
  void say_broken(long error, const os::MappedFileState& now) const;
  long map(const FileSource& source);
  bool take(uint32_t granules, uint32_t alignment, Run& run);
  long back(const Run& run);
  void empty(const Run& run);
  long settle(Run& run, uint32_t needed);
  void shrink(Run& run, uint32_t needed);
  uint64_t punch_some(uint64_t goal_granules);

  Lock& lock_;
  const uint8_t owner_;
  // Constant while open.
  int fd_ = -1;
  bool is_named_ = false;
  os::MappedFileState opened_ = {};
  Region::Chunk chunk_ = {};
  uint32_t granules_ = 0;
  // Guarded by lock_.
  Extents extents_;
  uint64_t busy_ = 0;  // granules out of the trees that may come back
  // Relaxed: each is set once, and whoever reads the old value finds out by itself.
  std::atomic<bool> broken_{false};
  std::atomic<bool> can_punch_{true};
  std::atomic<bool> trimming_{false};
};

}  // namespace pm
