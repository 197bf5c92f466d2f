// Laying out magazines inside a block: opening, growing, shrinking, draining.
//
// A magazine's array moves when it grows. Whoever does that holds the layout lock (one for the process: it is rare, and
// taken with try_lock only, so that nobody waits) and goes through these states:
//
//   open      limits set, a wall behind the last slot: pushes and pops work
//   closing   limits = 0, stored on the magazine's own CPU (or remotely, followed by the rseq fence): no push can
//             commit. Pops go on until the magazine is empty
//   closed    limits = 0 and top == begin (emptied by pop_batch) or top == 0 (taken remotely by exchange): a pop
//             reads a null slot, a push finds no divisor; nothing can commit, so the layout's holder owns word and
//             slots
//   open      the new wall and word first, then the new limits: a push that loads the new limits before the word
//             finds the new word and wall (x86 keeps loads in order and stores in order; the locked mode has its
//             lock)
//
// An open magazine may be widened in its array: all slots between its wall and the new one become null, its own wall
// last.
//
// Threads that meet a closed magazine serve themselves from the depot and the slabs.
#pragma once

#include "magazine/access.h"

namespace pm {

extern PM_SHARED Lock layout_lock;
// Of capacity, per CPU. Relaxed: a setting, which growth looks at.
extern PM_SHARED std::atomic<uint64_t> magazine_budget_bytes;
extern PM_SHARED bool magazine_checks;  // interior pointers

struct LayoutCounters {
  std::atomic<uint64_t> grows{0};
  std::atomic<uint64_t> shrinks{0};
  std::atomic<uint64_t> drains{0};
};
extern PM_SHARED LayoutCounters layout_counters;

// Opens the magazine or doubles its capacity, within the class's maximum and the CPU's budget; takes from magazines
// that stand idle if the budget is used up. Does nothing if another thread is at a layout, or the thread has moved.
template <typename Access>
void grow_magazine(uint32_t cpu, ClassId id);

// Moves every object of the CPU's magazines to the slabs, from any thread. Returns false if another CPU's magazines
// cannot be reached (no membarrier). `arm`: arms them anew, or disarms them, by whether sampling is on.
template <typename Access>
bool drain_cpu(uint32_t cpu, bool arm = false);

}  // namespace pm
