/* Every power of two up to 1 GiB, from each function that takes an alignment. */
#include <malloc.h>

#include "expect.h"

static void* aligned(int function, size_t alignment, size_t size) {
  void* object = NULL;
  if (function == 0) return aligned_alloc(alignment, size);
  if (function == 1) return memalign(alignment, size);
  EXPECT(posix_memalign(&object, alignment < sizeof(void*) ? sizeof(void*) : alignment, size) == 0);
  return object;
}

/* First and last byte only: an object of 1 GiB is checked without making it resident. */
static void touch(unsigned char* object, size_t size, unsigned char stamp) {
  if (size == 0) return;
  object[0] = stamp;
  object[size - 1] = stamp;
}

static void expect_touched(const unsigned char* object, size_t size, unsigned char stamp) {
  EXPECT(size == 0 || (object[0] == stamp && object[size - 1] == stamp));
}

static void several_live(size_t alignment) {
  const size_t sizes[] = {0, 1, 16, 100, 4096, alignment / 2 + 1, alignment, alignment + 1};
  enum { kCount = sizeof sizes / sizeof *sizes };
  /* Two at once are enough where each takes gigabytes of address space. */
  const size_t count = alignment > (64u << 20) ? 2 : kCount;
  for (int function = 0; function < 3; ++function) {
    unsigned char* objects[kCount];
    for (size_t i = 0; i < count; ++i) {
      objects[i] = aligned(function, alignment, sizes[i]);
      EXPECT(objects[i] != NULL);
      EXPECT(is_aligned(objects[i], alignment));
      EXPECT(is_aligned(objects[i], sizes[i] >= 16 ? 16 : 1));
      EXPECT(malloc_usable_size(objects[i]) >= sizes[i]);
      touch(objects[i], sizes[i], (unsigned char)(i + 1));
    }
    for (size_t i = 0; i < count; ++i) {
      expect_touched(objects[i], sizes[i], (unsigned char)(i + 1));
      if (i % 2 == 0) {
        /* realloc owes no alignment, but it owes the content, and free must take what it returns. */
        unsigned char* moved = realloc(objects[i], sizes[i] + 5000);
        EXPECT(moved != NULL);
        EXPECT(sizes[i] == 0 || (moved[0] == i + 1 && moved[sizes[i] - 1] == i + 1));
        objects[i] = moved;
      }
      free(objects[i]);
    }
  }
}

/* Many small aligned objects live together, so that a slab holds more than one. */
static void crowds(size_t alignment) {
  enum { kCount = 300 };
  unsigned char* objects[kCount];
  for (int i = 0; i < kCount; ++i) {
    objects[i] = aligned(i % 3, alignment, (size_t)i);
    EXPECT(objects[i] != NULL && is_aligned(objects[i], alignment));
    memset(objects[i], i & 0xff, (size_t)i);
  }
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < i; ++j) EXPECT(objects[i][j] == (i & 0xff));
    free(objects[i]);
  }
}

int main(void) {
  for (size_t alignment = 1; alignment <= (size_t)1 << 30; alignment *= 2) {
    several_live(alignment);
    if (alignment <= 65536) crowds(alignment);
  }
  return 0;
}
