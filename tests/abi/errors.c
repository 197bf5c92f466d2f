/* The rules for impossible requests, zero sizes and errno. */
#include <malloc.h>

#include "expect.h"

static const size_t kTooLarge[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX - 1, SIZE_MAX};

#define EXPECT_NO_MEMORY(call)    \
  do {                            \
    errno = 0;                    \
    EXPECT(opaque(call) == NULL); \
    EXPECT(errno == ENOMEM);      \
  } while (0)

static void impossible_sizes(void) {
  unsigned char* kept = malloc(100);
  memset(kept, 0x5c, 100);
  for (size_t i = 0; i < sizeof kTooLarge / sizeof *kTooLarge; ++i) {
    size_t size = opaque_size(kTooLarge[i]);
    EXPECT_NO_MEMORY(malloc(size));
    EXPECT_NO_MEMORY(calloc(1, size));
    EXPECT_NO_MEMORY(calloc(size, 1));
    EXPECT_NO_MEMORY(realloc(NULL, size));
    EXPECT_NO_MEMORY(realloc(opaque(kept), size));
    EXPECT_NO_MEMORY(reallocarray(opaque(kept), size, 1));
    EXPECT_NO_MEMORY(aligned_alloc(64, size));
    EXPECT_NO_MEMORY(aligned_alloc(1 << 20, size));
    EXPECT_NO_MEMORY(memalign(4096, size));
    EXPECT_NO_MEMORY(valloc(size));
    EXPECT_NO_MEMORY(pvalloc(size));
    void* untouched = &kept;
    EXPECT(posix_memalign(&untouched, 64, size) == ENOMEM);
    EXPECT(untouched == (void*)&kept);
  }
  /* A failed realloc leaves the object alone. */
  for (int i = 0; i < 100; ++i) EXPECT(kept[i] == 0x5c);
  free(kept);
}

static void overflowing_products(void) {
  static const size_t pairs[][2] = {{SIZE_MAX, 2},         {2, SIZE_MAX},
                                    {SIZE_MAX / 2 + 1, 2}, {(size_t)1 << 33, (size_t)1 << 33},
                                    {SIZE_MAX, SIZE_MAX},  {SIZE_MAX / 16 + 2, 16}};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; ++i) {
    size_t count = opaque_size(pairs[i][0]), size = opaque_size(pairs[i][1]);
    EXPECT_NO_MEMORY(calloc(count, size));
    EXPECT_NO_MEMORY(reallocarray(NULL, count, size));
    void* object = malloc(32);
    EXPECT_NO_MEMORY(reallocarray(opaque(object), count, size));
    free(object);
  }
}

static void bad_alignments(void) {
  static const size_t bad[] = {0, 1, 2, 3, 4, 7, 12, 24, 48, 100, 4097, SIZE_MAX};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    void* untouched = (void*)&bad;
    errno = E2BIG;
    EXPECT(posix_memalign(&untouched, opaque_size(bad[i]), 100) == EINVAL);
    EXPECT(untouched == (void*)&bad);
    EXPECT(errno == E2BIG);
  }
  /* No alignment above the largest power of two; one that the address space cannot hold is a want of memory. */
  errno = 0;
  EXPECT(memalign(opaque_size(SIZE_MAX / 2 + 2), 100) == NULL && errno == EINVAL);
  errno = 0;
  EXPECT(memalign(opaque_size((size_t)1 << 62), 100) == NULL && errno == ENOMEM);
  /* memalign rounds the alignment up instead, as glibc's does. */
  void* rounded = memalign(opaque_size(48), 100);
  EXPECT(rounded != NULL && is_aligned(rounded, 64));
  free(rounded);
}

static void free_keeps_errno(void) {
  static const size_t sizes[] = {0, 1, 64, 1000, 5000, 40000, 300000, 5000000, 200000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    void* object = malloc(sizes[i]);
    EXPECT(object != NULL);
    errno = EXDEV;
    free(object);
    EXPECT(errno == EXDEV);
  }
  errno = EXDEV;
  free(NULL);
  EXPECT(errno == EXDEV);
}

static void zero_sizes(void) {
  enum { kCount = 200 };
  void* objects[kCount];
  for (int i = 0; i < kCount; ++i) {
    switch (i % 8) {
      case 0: objects[i] = malloc(opaque_size(0)); break;
      case 1: objects[i] = calloc(opaque_size(0), 8); break;
      case 2: objects[i] = calloc(8, opaque_size(0)); break;
      case 3: objects[i] = realloc(NULL, opaque_size(0)); break;
      case 4: objects[i] = reallocarray(NULL, 8, opaque_size(0)); break;
      case 5: objects[i] = aligned_alloc(64, opaque_size(0)); break;
      case 6: objects[i] = memalign(256, opaque_size(0)); break;
      default: EXPECT(posix_memalign(&objects[i], 32, opaque_size(0)) == 0);
    }
    EXPECT(objects[i] != NULL);
    for (int j = 0; j < i; ++j) EXPECT(objects[j] != objects[i]);
  }
  for (int i = 0; i < kCount; ++i) free(objects[i]);
}

/* glibc frees the object and returns NULL; programs rely on either half. */
static void realloc_to_zero_frees(void) {
  size_t before = 0;
  for (int i = 0; i < 2000; ++i) {
    void* object = malloc(1 << 20);
    EXPECT(object != NULL);
    memset(object, 1, 1 << 20);
    EXPECT(realloc(opaque(object), opaque_size(0)) == NULL);
    object = malloc(100);
    EXPECT(reallocarray(opaque(object), 8, opaque_size(0)) == NULL);
    if (i == 99) before = resident_bytes();
  }
  EXPECT(resident_bytes() < before + (64u << 20));
}

static void page_functions(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  static const size_t sizes[] = {1, 100, 4095, 4096, 4097, 70000, 1000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    void* plain = valloc(sizes[i]);
    EXPECT(plain != NULL && is_aligned(plain, page) && malloc_usable_size(plain) >= sizes[i]);
    void* rounded = pvalloc(sizes[i]);
    EXPECT(rounded != NULL && is_aligned(rounded, page));
    EXPECT(malloc_usable_size(rounded) >= (sizes[i] + page - 1) / page * page);
    memset(rounded, 1, (sizes[i] + page - 1) / page * page);
    free(plain);
    free(rounded);
  }
  EXPECT(malloc_usable_size(NULL) == 0);
}

int main(void) {
  impossible_sizes();
  overflowing_products();
  bad_alignments();
  free_keeps_errno();
  zero_sizes();
  realloc_to_zero_frees();
  page_functions();
  return 0;
}
