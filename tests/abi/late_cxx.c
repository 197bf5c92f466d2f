/* A C program loads a C++ library late, so that libstdc++ is neither there at start nor, with RTLD_LOCAL, in sight. */
#include <dlfcn.h>

#include "expect.h"

int main(int argc, char** argv) {
  EXPECT(argc == 3);
  int visibility = strcmp(argv[2], "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL;
  EXPECT(dlsym(RTLD_DEFAULT, "__cxa_throw") == NULL);
  void* before = malloc(1000);
  void* library = dlopen(argv[1], RTLD_NOW | visibility);
  if (library == NULL) dprintf(STDERR_FILENO, "%s\n", dlerror());
  EXPECT(library != NULL);
  int (*exercise)(size_t) = __extension__(int (*)(size_t)) dlsym(library, "exercise");
  EXPECT(exercise != NULL);
  int wrong = exercise((size_t)PTRDIFF_MAX + 1);
  if (wrong != 0) dprintf(STDERR_FILENO, "exercise: step %d\n", wrong);
  EXPECT(wrong == 0);
  free(before);
  return 0;
}
