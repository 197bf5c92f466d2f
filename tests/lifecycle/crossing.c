/* Live memory fits its limit, live and free memory together do not: the program survives only if what is free goes back
 * in time. Nothing else would give it back: the test sets POOLMALLOC_DIRTY_BYTES and POOLMALLOC_MEMORY_PRICE so.
 *
 * Arguments: MiB of live memory at the most, rounds. */
#include <sys/types.h>

#include "expect.h"

#define MIB (1024 * 1024)

enum { kMost = 4096, kKeep = 16 };
static char* objects[2][kMost];

/* Allocates one round's objects, gives up what the round before has kept, and keeps a few of its own between the holes,
 * so that these do not join and the next round's larger objects find no place in them. */
static void use(int round, size_t total, size_t size) {
  char** mine = objects[round % 2];
  char** before = objects[(round + 1) % 2];
  size_t count = total / size;
  EXPECT(count <= kMost);
  for (size_t i = 0; i < count; ++i) {
    mine[i] = malloc(size);
    EXPECT(mine[i] != NULL);
    memset(mine[i], 1, size);
  }
  for (size_t i = 0; i < kMost; ++i) {
    free(before[i]);
    before[i] = NULL;
  }
  for (size_t i = 0; i < count; ++i) {
    if (i % kKeep == 0) continue;
    free(mine[i]);
    mine[i] = NULL;
  }
}

int main(int argc, char** argv) {
  EXPECT(argc == 3);
  size_t live = strtoul(argv[1], NULL, 10) * MIB;
  int rounds = (int)strtol(argv[2], NULL, 10);
  for (int round = 0; round < rounds; ++round) use(round, live, round % 2 == 0 ? 150000 : 3 * MIB);
  puts("survived");
  return 0;
}
