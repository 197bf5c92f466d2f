// The options in force now: those of the start, and what was changed since.
//
// One thread changes at a time, under a lock that fork handlers take; whoever reads copies (base/seq_cell.h). The
// layers keep what they need of them in atomics of their own, which a change sets.
#pragma once

#include "config/options.h"
#include "page/huge_advice.h"

namespace pm {

void options_now(Options& out);

// Gives a live option another value, in force when this returns; the worker's arithmetic follows with its next round,
// which is asked for. 0, or with `reason` said: -ENOENT (no such option), -EPERM (read at start only), -EINVAL (not a
// value of it), -EAGAIN (a signal handler interrupted a change), -ENOSYS (the heap does not serve this process).
// `value` ends with a zero.
long change_option_now(const char* name, size_t name_size, const char* value, TextWriter& reason);
// The same for both limits; any number. False: -EAGAIN as above.
bool change_own_limits(uint64_t soft, uint64_t hard);

HugeMode huge_mode(const Options& options);

void options_before_fork();
void options_after_fork_parent();
void options_after_fork_child(bool interrupted);

}  // namespace pm
