/* A directory for files that a test makes; the files in it have no names, or are removed by the test. */
#ifndef POOLMALLOC_TESTS_SCRATCH_H
#define POOLMALLOC_TESTS_SCRATCH_H

#include <stdlib.h>

static inline const char* scratch_directory(void) {
  const char* named = getenv("TMPDIR");
  return named != NULL && named[0] == '/' ? named : "/tmp";
}

#endif
