/* Loads libraries with RTLD_DEEPBIND and exchanges objects with them, both ways: deepbind CALLER [kept].
 *
 * The second library is found only through the run path of the first, which calls dlopen: whoever wraps dlopen must let
 * ld.so see the true caller.
 */
#include <dlfcn.h>

#include "expect.h"

int main(int argc, char** argv) {
  EXPECT(argc == 2 || argc == 3);
  void* caller = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (caller == NULL) dprintf(STDERR_FILENO, "%s\n", dlerror());
  EXPECT(caller != NULL);
  void* (*load_hidden)(void) = __extension__(void* (*)(void)) dlsym(caller, "load_hidden");
  EXPECT(load_hidden != NULL);
  /* From here it must not be found by its bare name: the program has no such run path. */
  EXPECT(dlopen("libhidden.so", RTLD_NOW) == NULL);
  void* hidden = load_hidden();
  if (hidden == NULL) dprintf(STDERR_FILENO, "%s\n", dlerror());
  EXPECT(hidden != NULL);

  char* (*give)(size_t) = __extension__(char* (*)(size_t)) dlsym(hidden, "give");
  void (*take)(char*) = __extension__(void (*)(char*)) dlsym(hidden, "take");
  EXPECT(give != NULL && take != NULL);
  for (size_t size = 1; size < 3000000; size *= 3) {
    char* theirs = give(size);
    theirs = realloc(theirs, size + 100);
    EXPECT(theirs != NULL && theirs[0] == 'g');
    free(theirs);
    /* With the flag in force (a second argument says so) its free is the C library's, which knows no object of ours. */
    if (argc == 3) continue;
    take(malloc(size));
    take(calloc(1, size));
  }
  return 0;
}
