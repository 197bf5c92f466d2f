/* A moment of ordinary work with every kind of size, and one line of output that depends on all of it. */
#include "expect.h"

int main(void) {
  enum { kCount = 2000 };
  static unsigned char* objects[kCount];
  unsigned sum = 0;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kCount; ++i) {
      size_t size = (size_t)(i % 50 == 0 ? i * 100 : i) + 1;
      objects[i] = i % 2 == 0 ? malloc(size) : calloc(1, size);
      EXPECT(objects[i] != NULL);
      memset(objects[i], i & 0xff, size);
      objects[i] = realloc(objects[i], size + 20);
      EXPECT(objects[i] != NULL);
      sum = sum * 31 + objects[i][size - 1];
    }
    for (int i = 0; i < kCount; ++i) free(objects[i]);
  }
  printf("%u\n", sum);
  return 0;
}
