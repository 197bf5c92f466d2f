/* The small library that misuses the heap on the program's behalf, so that a report names the library. */
#ifndef POOLMALLOC_TESTS_MISUSE_H
#define POOLMALLOC_TESTS_MISUSE_H

void release(void* object);

#endif
