// A call into the program that an exception cannot leave.
//
// The library is built without exceptions and needs no C++ run time; a program's callback may throw all the same. The
// call goes through a frame whose personality catches everything, with what the program's own unwinder offers; where
// the program has none, nobody can throw. Where this is not built (other machines than x86-64), an exception ends the
// program as it would at the end of a thread.
#pragma once

#include "poolmalloc/poolmalloc.h"

namespace pm::os {

// False if the callback threw; the exception is destroyed then. pthread_exit and cancellation pass through.
bool call_guarded(pm_pressure_callback callback, const pm_forecast* now, void* data);

}  // namespace pm::os
