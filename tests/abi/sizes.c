/* malloc of every small size and many larger ones: alignment, usable size, and that live objects never overlap. */
#include <malloc.h>

#include "expect.h"

enum { kLive = 4096, kSteps = 400000 };

static void check_object(unsigned char* object, size_t size) {
  EXPECT(object != NULL);
  EXPECT(is_aligned(object, size >= 16 ? 16 : 8));
  EXPECT(malloc_usable_size(object) >= size);
}

/* The whole usable size belongs to the caller, so it is written. */
static void every_small_size(void) {
  for (size_t size = 0; size <= 40000; ++size) {
    unsigned char* object = malloc(opaque_size(size));
    check_object(object, size);
    memset(object, 0xa5, malloc_usable_size(object));
    free(object);
  }
}

static void larger_sizes(void) {
  for (size_t base = 1 << 15; base <= (size_t)1 << 28; base *= 2) {
    for (size_t size = base - 17; size <= base + 17; ++size) {
      unsigned char* object = malloc(opaque_size(size));
      check_object(object, size);
      object[0] = 1;
      object[size - 1] = 2;
      EXPECT(object[0] == 1 && object[size - 1] == 2);
      free(object);
    }
  }
}

struct block {
  unsigned char* object;
  size_t size;
  unsigned char stamp;
};

static void expect_stamped(const struct block* block) {
  for (size_t i = 0; i < block->size; ++i) EXPECT(block->object[i] == block->stamp);
}

/* A table of objects is replaced in random order; each is filled with a byte of its own and must still hold it. */
static void live_objects_do_not_overlap(void) {
  static struct block blocks[kLive];
  uint64_t random = 0x9e3779b97f4a7c15u;
  for (int step = 0; step < kSteps; ++step) {
    struct block* block = &blocks[next_random(&random) % kLive];
    if (block->object != NULL) {
      expect_stamped(block);
      free(block->object);
    }
    uint64_t choice = next_random(&random);
    block->size = choice % 512 == 0 ? (size_t)(next_random(&random) % 200000) : (size_t)(next_random(&random) % 700);
    block->stamp = (unsigned char)step;
    block->object = malloc(block->size);
    check_object(block->object, block->size);
    memset(block->object, block->stamp, block->size);
  }
  for (int i = 0; i < kLive; ++i) {
    if (blocks[i].object != NULL) expect_stamped(&blocks[i]);
    free(blocks[i].object);
  }
}

int main(void) {
  every_small_size();
  larger_sizes();
  live_objects_do_not_overlap();
  return 0;
}
