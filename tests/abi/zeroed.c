/* calloc gives zeroes, also where the memory was used before, and does not touch pages that are fresh. */
#include "expect.h"

static const size_t kSizes[] = {1,    8,     16,    24,    64,    100,    500,     1000,
                                4096, 10000, 32768, 32769, 65536, 200000, 1 << 20, 5 << 20};
enum { kCount = sizeof kSizes / sizeof *kSizes, kEach = 32 };

static void expect_zero(const unsigned char* object, size_t size) {
  for (size_t i = 0; i < size; ++i) EXPECT(object[i] == 0);
}

static void zero_after_reuse(void) {
  static unsigned char* objects[kEach];
  for (int round = 0; round < 3; ++round) {
    for (size_t i = 0; i < kCount; ++i) {
      int each = kSizes[i] > 100000 ? 3 : kEach;
      for (int j = 0; j < each; ++j) {
        objects[j] = malloc(kSizes[i]);
        EXPECT(objects[j] != NULL);
        memset(objects[j], 0xff, kSizes[i]);
      }
      for (int j = 0; j < each; ++j) free(objects[j]);
      for (int j = 0; j < each; ++j) {
        objects[j] = j % 2 == 0 ? calloc(1, kSizes[i]) : calloc(kSizes[i], 1);
        EXPECT(objects[j] != NULL);
        expect_zero(objects[j], kSizes[i]);
        memset(objects[j], 0xff, kSizes[i]);
      }
      for (int j = 0; j < each; ++j) free(objects[j]);
    }
  }
}

/* What a large object leaves behind is cut into small ones, and the reverse. */
static void zero_after_a_change_of_size(void) {
  for (int round = 0; round < 20; ++round) {
    unsigned char* large = malloc(8 << 20);
    EXPECT(large != NULL);
    memset(large, 0xff, 8 << 20);
    free(large);
    static unsigned char* small[4096];
    for (int i = 0; i < 4096; ++i) {
      small[i] = calloc(16, 100);
      EXPECT(small[i] != NULL);
      expect_zero(small[i], 1600);
      memset(small[i], 0xff, 1600);
    }
    for (int i = 0; i < 4096; ++i) free(small[i]);
    large = calloc(1, 6 << 20);
    EXPECT(large != NULL);
    expect_zero(large, 6 << 20);
    free(large);
  }
}

static void fresh_pages_stay_untouched(void) {
  size_t before = resident_bytes();
  unsigned char* large = calloc(256, 1 << 20);
  EXPECT(large != NULL);
  EXPECT(resident_bytes() < before + (8u << 20));
  EXPECT(large[0] == 0 && large[(128 << 20) + 5] == 0 && large[(256 << 20) - 1] == 0);
  free(large);
}

int main(void) {
  fresh_pages_stay_untouched();
  zero_after_reuse();
  zero_after_a_change_of_size();
  return 0;
}
