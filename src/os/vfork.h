// vfork(2), for a library whose threads are known to the kernel.
//
// The child runs in its parent's memory, on its stack and with its thread-local storage, while that one thread of the
// parent waits. To the kernel it is another task, which no restartable sequence is registered for: the area names the
// CPU on which the parent stopped, for ever, and nothing restarts the child in the middle of a sequence. Other threads
// of the parent may be in the same magazine then. POSIX lets the child call nothing but exec and _exit; what programs
// call there all the same (opendir, setenv, a shell's own code) works with the C library's allocator, and here.
//
// So the child begins by writing "no CPU" into the area, and the parent takes that back. The stack below the caller is
// the child's to overwrite: what has to outlive it is in registers, as in the C library's own vfork.
#pragma once

#include <sys/types.h>

namespace pm::os {

// Whether the calling task borrows its memory from a parent that waits in vfork(). One system call in a process that
// never called it from this thread: none.
bool is_vfork_child();

}  // namespace pm::os

#if defined(__x86_64__)
#define PM_HAS_VFORK 1
// Jumped to in place of the C library's, with its caller's return address on top of the stack.
extern "C" __attribute__((visibility("hidden"))) pid_t pm_vfork();
#else
#define PM_HAS_VFORK 0
#endif
