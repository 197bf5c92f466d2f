// The library's place in the process's life: constructor, fork, exit.
#include <pthread.h>

#include "heap/heap.h"
#include "runtime/runtime.h"

namespace {

// Before other constructors that honour priorities. Most often the heap is up by now: ld.so allocated.
__attribute__((constructor(101))) void on_load() {
  pm::start_heap();
  pm::prepare_report();
  pthread_atfork(pm::before_fork, pm::after_fork_parent, pm::after_fork_child);
}

// Nothing is torn down: static destructors and detached threads may free after this.
__attribute__((destructor)) void on_exit() { pm::report_at_exit(); }

}  // namespace
