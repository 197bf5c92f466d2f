/* Functions and rules that glibc 2.36 lacks: C23's sized frees, aligned_alloc's EINVAL, and names of old.
 */
#include <dlfcn.h>
#include <malloc.h>

#include "expect.h"

static void* find(const char* name) {
  void* address = dlsym(RTLD_DEFAULT, name);
  if (address == NULL) dprintf(STDERR_FILENO, "missing: %s\n", name);
  EXPECT(address != NULL);
  return address;
}

#define FIND(type, name) (__extension__(type) find(name))

int main(void) {
  static const size_t bad[] = {0, 3, 12, 24, 48, 100, 4097};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    errno = 0;
    EXPECT(opaque(aligned_alloc(opaque_size(bad[i]), 96)) == NULL);
    EXPECT(errno == EINVAL);
  }

  void (*free_sized)(void*, size_t) = FIND(void (*)(void*, size_t), "free_sized");
  void (*free_aligned_sized)(void*, size_t, size_t) = FIND(void (*)(void*, size_t, size_t), "free_aligned_sized");
  void (*old_free)(void*) = FIND(void (*)(void*), "cfree");
  size_t (*malloc_good_size)(size_t) = FIND(size_t(*)(size_t), "malloc_good_size");

  /* A part of jemalloc's own interface would take the objects of programs that use all of it (named does). */
  EXPECT(dlsym(RTLD_DEFAULT, "sdallocx") == NULL && dlsym(RTLD_DEFAULT, "mallocx") == NULL);

  errno = EXDEV;
  free_sized(NULL, 0);
  free_sized(NULL, 100);
  free_aligned_sized(NULL, 64, 100);
  old_free(NULL);
  size_t warm = 0;
  for (int round = 0; round < 200; ++round) {
    for (size_t size = 0; size < 3000000; size += size / 3 + 1) {
      free_sized(malloc(size), size);
      free_sized(calloc(1, size), size);
      free_sized(realloc(malloc(7), size + 1), size + 1);
      old_free(malloc(size));
      for (int shift = 4; shift <= 16; shift += 4) {
        size_t alignment = (size_t)1 << shift;
        void* object = aligned_alloc(alignment, size);
        EXPECT(object != NULL);
        free_aligned_sized(object, alignment, size);
      }
    }
    if (round == 20) warm = resident_bytes();
  }
  EXPECT(errno == EXDEV);
  /* Had one of them not freed, the rounds would have left gigabytes of address space and many megabytes of pages. */
  EXPECT(resident_bytes() < warm + (16u << 20));

  int (*option_set)(const char*, const char*) = FIND(int (*)(const char*, const char*), "pm_option_set");
  int (*option_get)(const char*, char*, size_t, int*) =
      FIND(int (*)(const char*, char*, size_t, int*), "pm_option_get");
  char value[32];
  errno = 0;
  EXPECT(option_set("dirty_bytes", "3m") == 0 && errno == 0);
  EXPECT(option_get("dirty_bytes", value, sizeof value, NULL) == 2 && strcmp(value, "3m") == 0);
  EXPECT(option_set("fit", "first") == -1 && errno == EPERM);
  EXPECT(option_set("dirty_bytes", "three") == -1 && errno == EINVAL);
  EXPECT(option_set("dirt", "3m") == -1 && errno == ENOENT);

  for (size_t size = 1; size < (size_t)1 << 31; size += size / 5 + 1) {
    size_t good = malloc_good_size(size);
    EXPECT(good >= size);
    EXPECT(malloc_good_size(good) == good);
    if (size > 1u << 20) continue;
    void* object = malloc(size);
    EXPECT(malloc_usable_size(object) == good);
    free(object);
  }
  return 0;
}
