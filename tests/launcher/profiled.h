// What profiled.cc and profiled_library.cc pass to each other: the samples of one site.
#ifndef POOLMALLOC_TESTS_LAUNCHER_PROFILED_H_
#define POOLMALLOC_TESTS_LAUNCHER_PROFILED_H_

struct Counts {
  unsigned long size, allocated, live, peak, temporary;
  unsigned long ages[8];
};

#endif  // POOLMALLOC_TESTS_LAUNCHER_PROFILED_H_
