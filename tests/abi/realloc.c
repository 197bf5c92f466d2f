/* realloc keeps the content between all kinds of sizes, small and large. */
#include <malloc.h>

#include "expect.h"

static const size_t kSizes[] = {1,     8,     15,     16,     17,     24,      64,      100,     128,
                                129,   1000,  1024,   4096,   8192,   16384,   32768,   32769,   65535,
                                65536, 65537, 131072, 200000, 262144, 1 << 20, 3000000, 4 << 20, 33 << 20};
enum { kCount = sizeof kSizes / sizeof *kSizes };

static unsigned char expected(size_t position, unsigned seed) {
  return (unsigned char)(position * 31 + (position >> 8) + (position >> 16) * 7 + seed);
}

static void fill(unsigned char* object, size_t from, size_t to, unsigned seed) {
  for (size_t i = from; i < to; ++i) object[i] = expected(i, seed);
}

static void expect_filled(const unsigned char* object, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; ++i) EXPECT(object[i] == expected(i, seed));
}

static void all_pairs(void) {
  for (unsigned i = 0; i < kCount; ++i) {
    for (unsigned j = 0; j < kCount; ++j) {
      /* The largest sizes once each way are enough. */
      if (kSizes[i] > (8u << 20) && kSizes[j] > 100000) continue;
      unsigned char* object = malloc(kSizes[i]);
      EXPECT(object != NULL);
      fill(object, 0, kSizes[i], i + j);
      object = realloc(object, kSizes[j]);
      EXPECT(object != NULL && is_aligned(object, kSizes[j] >= 16 ? 16 : 8));
      EXPECT(malloc_usable_size(object) >= kSizes[j]);
      size_t kept = kSizes[i] < kSizes[j] ? kSizes[i] : kSizes[j];
      expect_filled(object, kept, i + j);
      fill(object, kept, kSizes[j], i + j);
      expect_filled(object, kSizes[j], i + j);
      free(object);
    }
  }
}

/* The buffer that grows and shrinks, with a neighbour in the way from time to time. */
static void chain(size_t first, size_t last, size_t add, unsigned percent) {
  void* neighbours[512];
  int count = 0;
  size_t size = first;
  unsigned char* object = malloc(size);
  EXPECT(object != NULL);
  fill(object, 0, size, 3);
  while (size < last) {
    size_t grown = size + add + size * percent / 100;
    object = realloc(object, grown);
    EXPECT(object != NULL);
    EXPECT(object[0] == expected(0, 3) && object[size - 1] == expected(size - 1, 3));
    fill(object, size, grown, 3);
    size = grown;
    if (count < 512 && size % 3 == 0) neighbours[count++] = malloc(size % 100000 + 1);
  }
  expect_filled(object, size, 3);
  while (size > first) {
    size -= size / 5 + 1;
    if (size == 0) break;
    object = realloc(object, size);
    EXPECT(object != NULL);
    EXPECT(object[0] == expected(0, 3) && object[size - 1] == expected(size - 1, 3));
  }
  expect_filled(object, size, 3);
  free(object);
  while (count > 0) free(neighbours[--count]);
}

int main(void) {
  all_pairs();
  chain(1, 64 << 20, 1, 50);
  chain(16, 100000, 16, 0);
  chain(40000, 16 << 20, 16384, 0);
  chain(1000000, 64 << 20, 12345, 5);
  return 0;
}
