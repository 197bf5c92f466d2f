/* What the test programs share: a check that stays on in every build, and ways to hide a value from the optimiser.
 *
 * Nothing here allocates, so that a failing check can be reported from inside any state of the heap.
 */
#ifndef POOLMALLOC_TESTS_EXPECT_H
#define POOLMALLOC_TESTS_EXPECT_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* _exit, not abort: atexit handlers and other threads must not turn a failed check into a hang. */
static inline void expect_failed(const char* file, int line, const char* condition) {
  dprintf(STDERR_FILENO, "%s:%d: expected %s (errno %d)\n", file, line, condition, errno);
  _exit(1);
}

#define EXPECT(condition) ((condition) ? (void)0 : expect_failed(__FILE__, __LINE__, #condition))

/* The same value, but the compiler knows nothing about it any more. */
static inline void* opaque(void* pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

static inline size_t opaque_size(size_t size) {
  __asm__ volatile("" : "+r"(size));
  return size;
}

static inline int is_aligned(const void* pointer, size_t alignment) {
  return ((uintptr_t)pointer & (alignment - 1)) == 0;
}

/* xorshift64: the same sequence in every run. */
static inline uint64_t next_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* The number after `key` in a file of /proc, in the file's own unit. */
static inline size_t proc_number(const char* path, const char* key) {
  char text[8192];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  EXPECT(fd >= 0);
  size_t used = 0;
  ssize_t got;
  while (used + 1 < sizeof text && (got = read(fd, text + used, sizeof text - 1 - used)) > 0) used += (size_t)got;
  close(fd);
  text[used] = '\0';
  const char* found = strstr(text, key);
  EXPECT(found != NULL);
  return (size_t)strtoull(found + strlen(key), NULL, 10);
}

/* smaps_rollup, not status: the latter's counters are per CPU and summed only approximately. */
static inline size_t resident_bytes(void) { return proc_number("/proc/self/smaps_rollup", "\nRss:") * 1024; }

#endif
