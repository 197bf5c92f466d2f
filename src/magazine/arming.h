// Arming: the magazine's word itself says when an allocation is sampled.
//
// While a profile is taken, the pop count in the high 48 bits of a word does not start at 0 but at 2^48 - n: the n-th
// pop from then on carries out of the word, which one conditional jump behind the commit sees. That thread has its
// object and is out of the sequence; it arms the magazine anew and has the allocation sampled. n is drawn so that every
// pop has the same chance (sampling.h).
//
// The true number of pops is `base` plus the count, modulo 2^48. An armed word has its topmost bit set, one that is not
// has it clear (n and the true count stay below 2^47); so a word tells whether it is armed.
//
//   armed -> carried        a pop; the count goes on from 0, base stays right
//   carried -> armed        the thread that carried, on the magazine's own CPU, in a sequence that commits only if
//                           nobody changed the word meanwhile and the magazine is open. If the thread was moved, or the
//                           magazine is closed, the block is marked, and the next slow path on it arms it. What was
//                           popped in between unsampled is drawn for and counted as dropped
//   any -> armed, not armed the holder of the layout lock, while it owns the word of a closed magazine
//
// `version` is odd while word and base do not agree; whoever changes them takes it so, and readers look again.
#pragma once

#include "magazine/block.h"

namespace pm {

// Objects popped from the magazine so far.
uint64_t pops_of(const CpuBlock& block, ClassId id);

// The caller owns the word: arms it if sampling is on, disarms it otherwise. `anew`: also one that is armed already.
void arm_closed(CpuBlock& block, ClassId id, bool anew);

// After a pop that carried out of this block's word.
PM_COLD void arm_again(CpuBlock& block, ClassId id);

// In a forked child: does what threads that it does not have were about to do.
void finish_arming_in_child(CpuBlock& block);

// Slow paths on the CPU of a block that is marked.
inline bool is_marked(const CpuBlock& block) { return block.marked.load(std::memory_order_relaxed) != 0; }
PM_COLD void arm_marked(CpuBlock& block);

}  // namespace pm
