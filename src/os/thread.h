// A thread of ours that the C library does not know: clone(2), a stack and a TLS block of its own, nothing else.
//
// glibc keeps `__libc_single_threaded` as it was, so a program without threads keeps its cheap reference counts and its
// unlocked stdio. The price is paid inside the thread: it makes system calls only. No libc function that locks,
// allocates or cancels; memcpy, the vdso clock and what else keeps no state are fine. Of thread-local variables it has
// this library's own, errno, and the words that compilers look for at fixed places. It is registered for no restartable
// sequences, so code that looks finds "no CPU" and takes its locked way.
//
// It blocks every signal, has the default scheduling policy and every CPU of the process's cpuset, whatever its creator
// had, and its own table of file descriptors, which starts empty: it neither holds the program's files open nor loses
// its own to closefrom(3). (Before Linux 5.9 it shares the program's table; see own_files.)
//
// One such thread at a time per RawThread. A forked child has none and finds the record zeroed (MADV_WIPEONFORK).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace pm::os {

// Lies in memory from map_thread_memory; all zero is "never started".
struct RawThread {
  // 0, or the thread's id. The kernel clears it and wakes its waiters when the thread is gone; kStarting meanwhile.
  std::atomic<int> id;
  // Written by the thread before `run` is called, for itself.
  bool own_files;    // its file descriptors are not the program's
  uint32_t filters;  // seccomp filters it began with
  int exit_code;     // what the process ends with if the thread is its last
  // Written by the starter before the thread exists.
  void (*run)(void* argument);
  void* argument;
  char name[16];
};

// Memory that a forked child finds zeroed, page-aligned, for a RawThread, its stack and `bytes` of whatever is to be
// kept for it. nullptr if refused. `wiped` tells whether the kernel promised the zeroing.
struct ThreadMemory {
  RawThread* thread;
  void* kept;
  bool wiped;
  uintptr_t start;  // of the whole
  size_t bytes;
};
ThreadMemory map_thread_memory(size_t bytes);

// Starts run(argument) in `thread`, which must not be running. 0, or the negative errno of the refusal. May be called
// on any stack outside of locks, also in a signal handler: it makes three system calls and uses nothing of the caller's
// afterwards.
long start_thread(RawThread& thread, const char* name, void (*run)(void*), void* argument);
inline bool is_running(const RawThread& thread) { return thread.id.load(std::memory_order_acquire) != 0; }
// Waits until the thread is gone, at most `timeout_ns`. Not from the thread itself.
bool join_thread(RawThread& thread, uint64_t timeout_ns);

// Sleeps while *word is `value`, until woken or for at most `timeout_ns`. Spurious wakes are the caller's to expect.
void wait_on(const std::atomic<uint32_t>& word, uint32_t value, uint64_t timeout_ns);
void wake_all(std::atomic<uint32_t>& word);

// CPU time of the calling thread, and of all threads of the process together.
uint64_t thread_cpu_ns();
uint64_t process_cpu_ns();

// Whether the process is still what it was when the raw thread that calls began. Reads two files of /proc: some 30 us.
enum class Place : uint8_t {
  same,
  other_user,  // its first thread has other user or group ids now
  sandboxed,   // another seccomp filter came over this thread
  last,        // every other thread has ended
};
Place place_of(RawThread& thread);

// Seccomp filters over the calling thread (before Linux 5.9: 1 for any number of them).
uint32_t seccomp_filters();
// Whether so many were there before this process, as a container's are, and were not put over it by itself or by a
// service manager: its parent has as many, or no parent is to be seen.
bool are_inherited(uint32_t filters);
// Whether a filter is in force that the machine's, or container's, first process is free of, or that does not let /proc
// be read: one that the program may have chosen for itself, to be ended for a call it does not make. Stricter than
// are_inherited(): a program that filters itself and then forks has such children.
bool is_sandboxed();

// A copy of the program's descriptor in the table of the raw thread that calls, or a negative errno. Where both share
// one table it is the descriptor itself.
int borrow_file(const RawThread& thread, int fd);

}  // namespace pm::os
