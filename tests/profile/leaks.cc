// Leaks a thousand objects of 100 bytes from one place, frees all others, and calls a library that it unloads.
//
// Usage: leaks      LD_LIBRARY_PATH or the run path leads to profile_plugin.so
#include <dlfcn.h>

#include "expect.h"

extern "C" __attribute__((noinline, visibility("default"), used)) void leak() {
  for (int i = 0; i < 1000; ++i) EXPECT(opaque(malloc(100)) != nullptr);
}

int main() {
  leak();
  for (int i = 0; i < 1000; ++i) free(opaque(malloc(200)));
  void* const plugin = dlopen(PLUGIN_PATH, RTLD_NOW);
  EXPECT(plugin != nullptr);
  const auto call = reinterpret_cast<void (*)(int)>(dlsym(plugin, "plugin_allocate"));
  EXPECT(call != nullptr);
  call(10);
  EXPECT(dlclose(plugin) == 0);
  return 0;
}
