// Where exposure (page/exposure.h) meets something: pure arithmetic on one sample.
//
// The heap charges what it takes into use exactly, so the room that a sample left is known to the byte until the next
// one, whatever others do meanwhile.
#pragma once

#include <cstdint>

namespace pm {

inline constexpr uint64_t kNoMark = UINT64_MAX;

struct Marks {
  uint64_t kick;   // the worker should look again
  uint64_t limit;  // the limit would be crossed: release first
};

struct MarkInput {
  uint64_t exposed_bytes;  // at the sample
  uint64_t pending_bytes;  // taken into use but not touched yet: see PendingTouch
  uint64_t usage_bytes;
  uint64_t limit_bytes;        // kNoMark: none
  bool shared;                 // other processes count against the limit, and may grow as well
  uint64_t waiting_bytes = 0;  // part of what is pending: of threads that wait to hear whether they may touch it
};

// A quarter of the room between two looks, and a sixty-fourth of the limit kept back for what is not ours. Of a shared
// limit's room only a quarter is ours before the next look: some others may take as much. Where there is no room, what
// is in use goes on being used; but what somebody waits to touch is over the mark, as far as it does not fit.
constexpr Marks marks_of(const MarkInput& in) {
  if (in.limit_bytes == kNoMark) return {kNoMark, kNoMark};
  const uint64_t kept = in.limit_bytes / 64;
  const uint64_t used = in.usage_bytes + in.pending_bytes + kept;
  const uint64_t room = used < in.limit_bytes ? in.limit_bytes - used : 0;
  const uint64_t ours = in.shared ? room / 4 : room;
  const uint64_t over = used > in.limit_bytes ? used - in.limit_bytes : 0;
  const uint64_t refused = over < in.waiting_bytes ? over : in.waiting_bytes;
  const uint64_t from = in.exposed_bytes > refused ? in.exposed_bytes - refused : 0;
  return {from + ours / 4, from + ours};
}

// The depot's spare batches and the slabs that became empty unnoticed are worth having before the heap grows on. To
// look for them costs as much as there are partial slabs, so it is done whenever a sixteenth more is exposed.
inline constexpr uint64_t kFirstTidyMark = uint64_t{4} << 20;
constexpr uint64_t tidy_mark_of(uint64_t exposed_bytes) {
  constexpr uint64_t kLeast = uint64_t{2} << 20;
  const uint64_t step = exposed_bytes / 16;
  return exposed_bytes + (step > kLeast ? step : kLeast);
}

// Memory that was handed out a moment ago will mostly be touched the next; the sample's usage does not have it yet.
// What stays untouched for long does not count: programs reserve more than they use.
class PendingTouch {
 public:
  uint64_t update(uint64_t exposed_bytes, uint64_t resident_bytes) {
    const int64_t waiting = pending_ / 2 + change(exposed_, exposed_bytes) - change(resident_, resident_bytes);
    pending_ = seen_ && waiting > 0 ? waiting : 0;
    exposed_ = exposed_bytes;
    resident_ = resident_bytes;
    seen_ = true;
    return static_cast<uint64_t>(pending_);
  }

 private:
  static int64_t change(uint64_t before, uint64_t now) { return static_cast<int64_t>(now - before); }

  uint64_t exposed_ = 0;
  uint64_t resident_ = 0;
  int64_t pending_ = 0;
  bool seen_ = false;
};

}  // namespace pm
