/* Memory that one thread allocates and another frees does not pile up: bounded pipeline|free_only. */
#include <pthread.h>
#include <stdatomic.h>

#include "expect.h"

enum { kRing = 1024, kItems = 3000000, kRounds = 60, kBatch = 20000, kAllowed = 64 << 20 };

static _Atomic(char*) ring[kRing];
static size_t largest;

static size_t size_of(int item) { return item % 1000 == 0 ? 100000 : 32 + (size_t)(item * 37 % 700); }

static void note_resident(void) {
  size_t resident = resident_bytes();
  if (resident > largest) largest = resident;
}

static void* produce(void* unused) {
  for (int item = 0; item < kItems; ++item) {
    char* object = malloc(size_of(item));
    EXPECT(object != NULL);
    memset(object, 1, size_of(item));
    char* expected = NULL;
    while (!atomic_compare_exchange_weak(&ring[item % kRing], &expected, object)) {
      expected = NULL;
      usleep(0);
    }
  }
  return unused;
}

static void pipeline(void) {
  pthread_t producer;
  EXPECT(pthread_create(&producer, NULL, produce, NULL) == 0);
  for (int item = 0; item < kItems; ++item) {
    char* object;
    while ((object = atomic_exchange(&ring[item % kRing], NULL)) == NULL) usleep(0);
    free(object);
    if (item % 100000 == 0) note_resident();
  }
  EXPECT(pthread_join(producer, NULL) == 0);
}

static char* batch[kBatch];
static pthread_barrier_t barrier;

/* Frees everything and never allocates. */
static void* only_free(void* unused) {
  for (int round = 0; round < kRounds; ++round) {
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < kBatch; ++i) free(batch[i]);
    pthread_barrier_wait(&barrier);
  }
  return unused;
}

static void free_only(void) {
  pthread_t freer;
  EXPECT(pthread_barrier_init(&barrier, NULL, 2) == 0);
  EXPECT(pthread_create(&freer, NULL, only_free, NULL) == 0);
  for (int round = 0; round < kRounds; ++round) {
    /* Another size in each round: what one size left must serve the next. */
    for (int i = 0; i < kBatch; ++i) {
      size_t size = 64 + (size_t)round * 16;
      batch[i] = malloc(size);
      EXPECT(batch[i] != NULL);
      memset(batch[i], 1, size);
    }
    note_resident();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
  }
  EXPECT(pthread_join(freer, NULL) == 0);
}

int main(int argc, char** argv) {
  EXPECT(argc == 2);
  alarm(300);
  size_t before = resident_bytes(), live;
  if (strcmp(argv[1], "pipeline") == 0) {
    pipeline();
    live = (size_t)kRing * 500;
  } else {
    free_only();
    live = (size_t)kBatch * (64 + 16 * kRounds);
  }
  if (largest > before + live + kAllowed)
    dprintf(STDERR_FILENO, "%zu bytes resident, %zu live\n", largest - before, live);
  EXPECT(largest > 0 && largest <= before + live + kAllowed);
  return 0;
}
