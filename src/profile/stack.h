// The stack of the calling thread: return addresses, innermost first.
//
// By the compiler's call frame information (cfi.h), found without a lock (os/objects.h) and remembered (rule_cache.h);
// where code has none (a just-in-time compiler's), by the chain of frame pointers, as far as it leads upward through
// memory that can be read. Nothing is allocated and nobody waited for, so it works inside dlopen, in signal handlers,
// on any stack, and in a forked child, which unwinders that keep locks do not.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pm {

inline constexpr unsigned kMaxStack = 64;

// Notes the objects that no call can unload: this library, the program and the C library. What is remembered of their
// code needs no second look. Before the first capture_stack that should profit, and not beside any.
void note_lasting_objects();

// Up to kMaxStack addresses; returns how many. Frames of this library at the inner end are left out, but where it is
// linked into the program itself.
unsigned capture_stack(uintptr_t (&out)[kMaxStack]);

// The rules alone, for a walk that begins elsewhere (tests).
unsigned walk_stack(uintptr_t pc, uintptr_t stack, uintptr_t frame, bool exact, uintptr_t* out, unsigned most);

}  // namespace pm
