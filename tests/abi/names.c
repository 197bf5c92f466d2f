/* The whole malloc family comes from one object file, so that what one name gives another can take. */
#include <dlfcn.h>
#include <malloc.h>

#include "expect.h"

typedef void* (*one_size)(size_t);
typedef void* (*two_sizes)(size_t, size_t);
typedef void* (*resizer)(void*, size_t);
typedef void (*releaser)(void*);

static const char* const kNames[] = {"malloc",
                                     "free",
                                     "calloc",
                                     "realloc",
                                     "reallocarray",
                                     "aligned_alloc",
                                     "memalign",
                                     "posix_memalign",
                                     "valloc",
                                     "pvalloc",
                                     "malloc_usable_size",
                                     "malloc_trim",
                                     "mallinfo",
                                     "mallinfo2",
                                     "malloc_info",
                                     "malloc_stats",
                                     "mallopt",
                                     "__libc_malloc",
                                     "__libc_free",
                                     "__libc_calloc",
                                     "__libc_realloc",
                                     "__libc_memalign",
                                     "__libc_valloc",
                                     "__libc_pvalloc"};

/* Function pointers and object pointers are different things to ISO C; POSIX says that dlsym may mix them. */
static void* find(const char* name) {
  void* address = dlsym(RTLD_DEFAULT, name);
  if (address == NULL) dprintf(STDERR_FILENO, "missing: %s\n", name);
  EXPECT(address != NULL);
  return address;
}

#define FIND(type, name) (__extension__(type) find(name))

static const char* file_of(const char* name) {
  Dl_info info;
  EXPECT(dladdr(find(name), &info) != 0);
  return info.dli_fname;
}

int main(void) {
  const char* home = file_of("malloc");
  for (size_t i = 0; i < sizeof kNames / sizeof *kNames; ++i) {
    if (strcmp(file_of(kNames[i]), home) != 0) dprintf(STDERR_FILENO, "%s is in %s\n", kNames[i], file_of(kNames[i]));
    EXPECT(strcmp(file_of(kNames[i]), home) == 0);
  }

  static const size_t sizes[] = {1, 64, 1000, 40000, 3000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    size_t size = sizes[i];
    void* objects[] = {FIND(one_size, "__libc_malloc")(size),         FIND(two_sizes, "__libc_calloc")(1, size),
                       FIND(two_sizes, "__libc_memalign")(256, size), FIND(one_size, "__libc_valloc")(size),
                       FIND(one_size, "__libc_pvalloc")(size),        malloc(size)};
    for (size_t j = 0; j < sizeof objects / sizeof *objects; ++j) {
      EXPECT(objects[j] != NULL && malloc_usable_size(objects[j]) >= size);
      memset(objects[j], (int)j, size);
      objects[j] = FIND(resizer, "__libc_realloc")(objects[j], size + 1);
      EXPECT(objects[j] != NULL && ((unsigned char*)objects[j])[size - 1] == j);
      if (j % 2 == 0) {
        free(objects[j]);
      } else {
        FIND(releaser, "__libc_free")(objects[j]);
      }
    }
  }
  return 0;
}
