/* Thousands of short threads leave live objects behind, which others free; memory stays bounded by what is live. */
#include <pthread.h>

#include "expect.h"

enum { kThreads = 6000, kAtOnce = 8, kObjects = 200, kAllowed = 24 << 20 };

struct work {
  char* objects[kObjects];
};

static void* leave_objects(void* argument) {
  struct work* work = argument;
  for (int i = 0; i < kObjects; ++i) {
    size_t size = 16 + (size_t)i * 5;
    char* gone = malloc(size * 2);
    work->objects[i] = malloc(size);
    EXPECT(gone != NULL && work->objects[i] != NULL);
    memset(gone, 1, size * 2);
    memset(work->objects[i], i, size);
    free(gone);
  }
  return NULL;
}

int main(void) {
  static struct work works[kAtOnce];
  size_t warm = 0;
  for (int started = 0; started < kThreads; started += kAtOnce) {
    pthread_t threads[kAtOnce];
    for (int i = 0; i < kAtOnce; ++i) EXPECT(pthread_create(&threads[i], NULL, leave_objects, &works[i]) == 0);
    for (int i = 0; i < kAtOnce; ++i) EXPECT(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < kAtOnce; ++i) {
      for (int j = 0; j < kObjects; ++j) {
        EXPECT(works[i].objects[j][0] == (char)j);
        free(works[i].objects[j]);
      }
    }
    if (started == kThreads / 20 / kAtOnce * kAtOnce) warm = resident_bytes();
  }
  size_t end = resident_bytes();
  if (end > warm + kAllowed) dprintf(STDERR_FILENO, "grew from %zu to %zu bytes\n", warm, end);
  EXPECT(warm > 0 && end <= warm + kAllowed);
  return 0;
}
