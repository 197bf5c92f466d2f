#include "page/file_extents.h"

#include <cerrno>

#include "base/text.h"
#include "os/memory.h"
#include "os/process.h"

namespace pm {
namespace {

// Blocks are reserved this far ahead, so that small objects do not cost a system call for each granule.
constexpr uint32_t kAhead = kBlockGranules;
// What may lie free with blocks behind it: 16 MiB, or a quarter of what is in use. Beyond that frees punch.
constexpr uint64_t kKept = 16 * kMiB >> kGranuleShift;
// A system call that holds a run back is waited for this long in all; it may hang with its file system.
constexpr unsigned kWaits = 10'000;
constexpr uint64_t kWaitNanoseconds = 100'000;

size_t bytes_of(uint64_t granules) { return granules << kGranuleShift; }

}  // namespace

long FileExtents::open(const FileSource& source) {
  const long fd = os::mapped_file_functions().open(source.path, source.kind);
  if (fd < 0) return fd;
  fd_ = static_cast<int>(fd);
  is_named_ = source.kind != os::FileOrigin::unnamed;
  const long error = map(source);
  if (error == 0) return 0;
  os::close_file(fd_);
  if (source.kind == os::FileOrigin::fresh) os::remove_file(source.path);
  return error;
}

long FileExtents::map(const FileSource& source) {
  const os::MappedFileFunctions& file = os::mapped_file_functions();
  granules_ = static_cast<uint32_t>(source.bytes >> kGranuleShift);
  chunk_ = region.adopt(granules_, owner_);
  if (chunk_.granules == 0) return -ENOMEM;
  long error = file.resize(fd_, 0);  // what it held goes
  if (error == 0) error = file.resize(fd_, source.bytes);
  if (error == 0) error = file.state(fd_, opened_);
  if (error == 0) error = file.map(fd_, address_of(region.address(chunk_.first)), source.bytes, source.sync);
  if (error != 0) {
    region.abandon(chunk_);
    return error;
  }
  const LockGuard guard(lock_);
  extents_.release(chunk_.first, granules_);
  return 0;
}

void FileExtents::close(bool unlock) {
  region.abandon(chunk_);
  // The program may have closed our descriptor and be using its number.
  os::MappedFileState now = {};
  if (os::mapped_file_functions().state(fd_, now) != 0 || !is_ours(now)) return;
  if (unlock) os::unlock_file(fd_);
  os::close_file(fd_);
}

void FileExtents::say_broken(long error, const os::MappedFileState& now) const {
  char buffer[256];
  TextWriter out(buffer);
  out.text("poolmalloc: the file heap at ")
      .hex(address_of(region.address(chunk_.first)))
      .text(" refuses from now on: ");
  if (error == 0 && is_ours(now)) {
    out.text("its file was truncated to ").number(now.bytes).text(" bytes\n");
  } else {
    out.text("its file descriptor was closed\n");
  }
  os::write_all(2, out.data(), out.size());
}

long FileExtents::look() {
  if (is_broken()) return -EIO;
  os::MappedFileState now = {};
  const long error = os::mapped_file_functions().state(fd_, now);
  if (error == 0 && is_ours(now) && now.bytes >= opened_.bytes) return 0;
  if (!broken_.exchange(true, std::memory_order_relaxed)) say_broken(error, now);
  return -EIO;
}

bool FileExtents::take(uint32_t granules, uint32_t alignment, Run& run) {
  for (unsigned waits = 0;; ++waits) {
    {
      const LockGuard guard(lock_);
      const GranuleIndex first = extents_.allocate(granules, alignment);
      if (first != kNoGranule) {
        region.extent(first).granules = granules;
        region.extent(first).state.store(ExtentState::busy, std::memory_order_release);
        run = {first, granules, region.extent(first).dirty == granules};
        if (run.backed) return true;
        if (granules < kAhead && extents_.extend(first, granules, kAhead)) run.granules = kAhead;
        busy_ += run.granules;
        return true;
      }
      if (busy_ == 0 || extents_.free_granules() + busy_ < granules || waits == kWaits) return false;
    }
    os::sleep_ns(kWaitNanoseconds);
  }
}

// The descriptor is looked at first, lest another file be given blocks, and after: truncating takes blocks away.
long FileExtents::back(const Run& run) {
  if (look() != 0) return -EIO;
  const long error =
      os::mapped_file_functions().reserve(fd_, bytes_of(run.first - chunk_.first), bytes_of(run.granules));
  return error != 0 ? error : look();
}

// Gives back what the run has beyond `needed`.
void FileExtents::shrink(Run& run, uint32_t needed) {
  if (run.granules == needed) return;
  region.extent(run.first).granules = needed;
  extents_.release(run.first + needed, run.granules - needed);
  run.granules = needed;
}

// Takes back the blocks that a part of the run may have got before the disk was full.
void FileExtents::empty(const Run& run) {
  const uintptr_t start = address_of(region.address(run.first));
  if (os::mapped_file_functions().punch(start, bytes_of(run.granules)) != 0) return;
  const LockGuard guard(lock_);
  mark_clean(run.first, run.granules);
}

// Backs a run that was taken, with less ahead if there is no room for that. If it fails, the run is free again.
long FileExtents::settle(Run& run, uint32_t needed) {
  long error = back(run);
  if (error != 0) empty(run);
  if (error != 0 && run.granules > needed) {
    {
      const LockGuard guard(lock_);
      busy_ -= run.granules - needed;
      shrink(run, needed);
    }
    error = back(run);
    if (error != 0) empty(run);
  }
  const LockGuard guard(lock_);
  busy_ -= run.granules;
  if (error == 0) {
    mark_dirty(run.first, run.granules);
    shrink(run, needed);
  } else {
    extents_.release(run.first, run.granules);
  }
  return error;
}

GranuleIndex FileExtents::allocate(uint32_t granules, uint32_t alignment, long& error) {
  for (bool trimmed = false;; trimmed = true) {
    Run run = {};
    error = -ENOMEM;
    if (!take(granules, alignment, run)) return kNoGranule;
    error = run.backed ? 0 : settle(run, granules);
    if (error == 0) return run.first;
    // What is free elsewhere in the file may hold the blocks that are wanting.
    if (trimmed || is_broken() || trim(UINT64_MAX) == 0) return kNoGranule;
  }
}

bool FileExtents::extend(GranuleIndex first, uint32_t granules, uint32_t wanted) {
  Run tail = {first + granules, wanted - granules, false};
  {
    const LockGuard guard(lock_);
    if (!extents_.extend(first, granules, wanted)) return false;
    tail.backed = count_dirty(tail.first, tail.granules) == tail.granules;
    if (tail.backed) return true;
    busy_ += tail.granules;
  }
  const long error = back(tail);
  if (error != 0) empty(tail);
  const LockGuard guard(lock_);
  busy_ -= tail.granules;
  if (error == 0) {
    mark_dirty(tail.first, tail.granules);
    return true;
  }
  region.extent(first).granules = granules;
  extents_.release(tail.first, tail.granules);
  return false;
}

uint64_t FileExtents::punch_some(uint64_t goal_granules) {
  struct Victim {
    GranuleIndex first;
    uint32_t granules;
    uint32_t backed;
    bool done;
  };
  constexpr unsigned kMost = 16;
  Victim victims[kMost];
  unsigned count = 0;
  {
    const LockGuard guard(lock_);
    for (uint64_t sum = 0; count < kMost && sum < goal_granules; ++count) {
      const GranuleIndex first = extents_.take_dirty(goal_granules - sum);
      if (first == kNoGranule) break;
      const uint32_t granules = region.extent(first).granules;
      victims[count] = {first, granules, count_dirty(first, granules), false};
      sum += victims[count].backed;
      busy_ += granules;
    }
  }
  for (unsigned i = 0; i < count && can_punch_.load(std::memory_order_relaxed); ++i) {
    const uintptr_t start = address_of(region.address(victims[i].first));
    victims[i].done = os::mapped_file_functions().punch(start, bytes_of(victims[i].granules)) == 0;
    if (!victims[i].done) can_punch_.store(false, std::memory_order_relaxed);
  }
  uint64_t given = 0;
  const LockGuard guard(lock_);
  for (unsigned i = 0; i < count; ++i) {
    const Victim& victim = victims[i];
    if (victim.done) {
      mark_clean(victim.first, victim.granules);
      given += victim.backed;
    }
    busy_ -= victim.granules;
    extents_.put_back(victim.first, victim.granules);
  }
  return bytes_of(given);
}

uint64_t FileExtents::trim(uint64_t goal) {
  uint64_t given = 0;
  while (given < goal && can_punch_.load(std::memory_order_relaxed)) {
    const uint64_t wanted = (goal - given) >> kGranuleShift;
    const uint64_t now = punch_some(wanted != 0 ? wanted : 1);
    if (now == 0) break;
    given += now;
  }
  return given;
}

void FileExtents::trim_excess() {
  uint64_t excess = 0;
  {
    const LockGuard guard(lock_);
    const uint64_t quarter = (granules_ - extents_.free_granules()) / 4;
    const uint64_t kept = quarter > kKept ? quarter : kKept;
    if (extents_.dirty_granules() > kept) excess = extents_.dirty_granules() - kept / 2;
  }
  if (excess == 0 || trimming_.exchange(true, std::memory_order_relaxed)) return;
  trim(bytes_of(excess));
  trimming_.store(false, std::memory_order_relaxed);
}

}  // namespace pm
