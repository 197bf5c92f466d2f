// The library's place in the process's life: constructor, threads, fork, exit.
//
// Fork handlers matter only where a second thread may hold a lock, and registering them costs every process two pages
// of the C library's that it would not touch otherwise. So they are registered when the first thread is about to start:
// the functions that start threads are wrapped for that one moment. Our own worker is started inside of malloc, where
// nothing of the C library may be called; its process registers them when it is about to fork.
//
// A process of more than one thread may not enter a user namespace, and one whose threads share a working directory no
// mount namespace: unshare(2) and setns(2) stop the worker first.
#include <dlfcn.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <sys/types.h>
#include <termios.h>
#include <threads.h>

#include <atomic>

#include "heap/heap.h"
#include "os/vfork.h"
#include "preload/topology.h"
#include "reclaim/worker.h"
#include "runtime/runtime.h"

#define PM_ABI extern "C" __attribute__((visibility("default"), used))

// glibc 2.32: false once a second thread was started. Absent in older ones, hence weak.
extern "C" char __libc_single_threaded __attribute__((weak));

namespace {

std::atomic<bool> fork_handled{false};

void handle_fork() {
  if (fork_handled.exchange(true, std::memory_order_relaxed)) return;
  pthread_atfork(pm::before_fork, pm::after_fork_parent, pm::after_fork_child);
}

bool may_have_threads() { return &__libc_single_threaded == nullptr || __libc_single_threaded == 0; }

template <typename Function>
Function next_function(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// Before other constructors that honour priorities. The heap itself starts with the first malloc, so that a process
// that never calls it pays for the options only, unless it is to say something.
__attribute__((constructor(101))) void on_load() {
  pm::load_options();
  if (pm::options().verbose || !(pm::options().stats == "0")) pm::start_heap();
  pm::prepare_report();
  pm::start_profile();
  if (may_have_threads()) handle_fork();
}

// Nothing is torn down: static destructors and detached threads may free after this.
__attribute__((destructor)) void on_exit() {
  pm::report_at_exit();
  pm::write_profile_at_exit();
  pm::check_at_exit();
}

}  // namespace

PM_ABI int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  handle_fork();
  pm::load_topology_if_due();
  static const auto real = next_function<decltype(&pthread_create)>("pthread_create");
  return real(thread, attributes, start, argument);
}

PM_ABI int thrd_create(thrd_t* thread, thrd_start_t start, void* argument) {
  handle_fork();
  pm::load_topology_if_due();
  static const auto real = next_function<decltype(&thrd_create)>("thrd_create");
  return real(thread, start, argument);
}

namespace {

// Before the handlers run, so that they run in their order.
void handle_fork_of_worker() {
  if (pm::worker_was_started()) handle_fork();
}

}  // namespace

// glibc's fork under its other name: looking it up by dlsym could wait for a lock when a signal handler forks.
extern "C" pid_t __fork(void);

PM_ABI pid_t fork(void) {
  handle_fork_of_worker();
  return __fork();
}

PM_ABI int daemon(int stay, int keep_open) {
  handle_fork_of_worker();
  static const auto real = next_function<decltype(&daemon)>("daemon");
  return real(stay, keep_open);
}

PM_ABI int forkpty(int* terminal, char* name, const termios* settings, const winsize* size) {
  handle_fork_of_worker();
  static const auto real = next_function<decltype(&forkpty)>("forkpty");
  return real(terminal, name, settings, size);
}

PM_ABI int unshare(int flags) {
  pm::worker_stop();
  static const auto real = next_function<decltype(&unshare)>("unshare");
  return real(flags);
}

PM_ABI int setns(int fd, int kind) {
  pm::worker_stop();
  static const auto real = next_function<decltype(&setns)>("setns");
  return real(fd, kind);
}

#if PM_HAS_VFORK

// Where a sanitizer is at work, its own vfork is the one to call; with another heap than ours, the C library's.
extern "C" __attribute__((visibility("hidden"), used)) void* pm_other_vfork() {
  if (pm::start_heap()) return nullptr;
  static void* const other = dlsym(RTLD_NEXT, "vfork");
  return other;
}

// No frame of ours may stay on the stack that parent and child share.
asm(R"(
  .text
  .globl vfork
  .type vfork, @function
vfork:
  .cfi_startproc
  endbr64
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  call pm_other_vfork
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  testq %rax, %rax
  je pm_vfork
  jmp *%rax
  .cfi_endproc
  .size vfork, . - vfork
)");

#endif
