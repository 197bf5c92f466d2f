/* Threads load and unload a library that allocates in its constructors and destructors: plugin_storm PLUGIN. */
#include <dlfcn.h>
#include <pthread.h>

#include "expect.h"

enum { kThreads = 4, kRounds = 1000, kSeconds = 120, kAllowed = 48 << 20 };

static const char* plugin;

static void* load_and_unload(void* unused) {
  for (int round = 0; round < kRounds; ++round) {
    void* library = dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) dprintf(STDERR_FILENO, "%s\n", dlerror());
    EXPECT(library != NULL);
    void* (*take)(size_t) = __extension__(void* (*)(size_t)) dlsym(library, "take");
    EXPECT(take != NULL);
    void* object = take((size_t)round * 20);
    EXPECT(object != NULL);
    EXPECT(dlclose(library) == 0);
    free(object);
    /* A failing dlopen allocates its message, which the thread's exit or the next call frees. */
    EXPECT(dlopen("/nonexistent/library.so", RTLD_NOW) == NULL);
  }
  return unused;
}

int main(int argc, char** argv) {
  EXPECT(argc == 2);
  plugin = argv[1];
  alarm(kSeconds);
  load_and_unload(NULL);
  /* Or its destructors have not run. */
  EXPECT(dlopen(plugin, RTLD_NOW | RTLD_NOLOAD) == NULL);
  size_t warm = resident_bytes();
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) EXPECT(pthread_create(&threads[i], NULL, load_and_unload, NULL) == 0);
  for (int i = 0; i < kThreads; ++i) EXPECT(pthread_join(threads[i], NULL) == 0);
  EXPECT(resident_bytes() <= warm + kAllowed);
  return 0;
}
