// The live objects of a program whose demand rises and falls. The latest are freed first when demand falls, as at the
// end of a request or a phase, but for a few per cent of them, which outlive several such ends and lie scattered among
// what was freed. Every object is written when it is made and looked at when it is freed.
#pragma once

#include <sys/mman.h>

#include "cost.h"

namespace bench {

struct ObjectSettings {
  size_t smallest = 32;
  size_t largest = 256 << 10;
  double large = 0.03;     // part of the objects above 4 KiB: most objects are small, most bytes are in large ones
  double retained = 0.05;  // part of what would be freed that stays
  uint64_t seed = 1;
};

class Objects {
 public:
  Objects(const ObjectSettings& settings, Budget& budget)
      : settings_(settings), budget_(budget), random_(settings.seed), live_(kMost), kept_(kMost) {
    large_of_65536_ = static_cast<size_t>(settings.large * 65536);
    retained_of_65536_ = static_cast<size_t>(settings.retained * 65536);
  }

  uint64_t bytes() const { return bytes_; }
  const MallocTimes& times() const { return times_; }

  // One object more; false if the budget or the allocator has none.
  bool grow() {
    const size_t size = random_size();
    if (!budget_.take(size)) return false;
    char* object = make(size);
    if (object == nullptr) {
      budget_.give(size);
      return false;
    }
    bytes_ += size;
    live_.push({object, size});
    return true;
  }

  // One object less, or one set aside to be kept for longer.
  void shrink() {
    // What is kept may become a tenth of all; then the oldest of it goes.
    if (live_.empty() || kept_bytes_ * 10 > bytes_) {
      const Object oldest = kept_.take_first();
      kept_bytes_ -= oldest.size;
      destroy(oldest);
      return;
    }
    const Object newest = live_.take_last();
    if (random_.below(65536) < retained_of_65536_) {
      kept_.push(newest);
      kept_bytes_ += newest.size;
    } else {
      destroy(newest);
    }
  }

  // The fixed unit of work: sixty-four short-lived objects, and a live small one replaced by another of its size.
  void work() {
    void* parts[64];
    for (void*& part : parts) part = take_and_write(random_.log_between(32, 512), 7);
    if (!live_.empty()) {
      Object& object = live_.at(random_.below(live_.size()));
      check_stamp(object);
      if (object.size <= 1024) {
        give(object.place);
        object.place = make(object.size);
        check(object.place != nullptr, "malloc");
      }
    }
    for (void* part : parts) give(part);
  }

 private:
  struct Object {
    char* place;
    size_t size;
  };

  static constexpr size_t kSmall = 4096;
  static constexpr size_t kMost = size_t{1} << 24;

  // A ring in pages of its own, so that book-keeping takes nothing from the heap that is measured.
  class Ring {
   public:
    explicit Ring(size_t most) : mask_(most - 1) {
      void* place = mmap(nullptr, most * sizeof(Object), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      check(place != MAP_FAILED, "mapping the list of objects");
      objects_ = static_cast<Object*>(place);
    }
    bool empty() const { return first_ == last_; }
    size_t size() const { return last_ - first_; }
    Object& at(size_t i) { return objects_[(first_ + i) & mask_]; }
    void push(Object object) {
      check(size() <= mask_, "keeping so many objects");
      objects_[last_++ & mask_] = object;
    }
    Object take_last() { return objects_[--last_ & mask_]; }
    Object take_first() {
      check(!empty(), "finding an object to free");
      return objects_[first_++ & mask_];
    }

   private:
    Object* objects_ = nullptr;
    size_t mask_;
    size_t first_ = 0;
    size_t last_ = 0;
  };

  size_t random_size() {
    if (random_.below(65536) < large_of_65536_) return random_.log_between(kSmall, settings_.largest / 2);
    return random_.log_between(settings_.smallest, kSmall / 2);
  }

  char* make(size_t size) { return times_.make(size, static_cast<char>(size & 0xff)); }

  static void check_stamp(const Object& object) {
    const char stamp = static_cast<char>(object.size & 0xff);
    check(object.place[0] == stamp && object.place[object.size - 1] == stamp, "finding an object as it was left");
  }

  void destroy(const Object& object) {
    check_stamp(object);
    give(object.place);
    bytes_ -= object.size;
    budget_.give(object.size);
  }

  ObjectSettings settings_;
  Budget& budget_;
  Random random_;
  Ring live_;
  Ring kept_;
  size_t large_of_65536_ = 0;
  size_t retained_of_65536_ = 0;
  uint64_t bytes_ = 0;
  uint64_t kept_bytes_ = 0;
  MallocTimes times_;
};

}  // namespace bench
