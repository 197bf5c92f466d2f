/* Finds its dependency by a bare name through its own run path, $ORIGIN/hidden. */
#include <dlfcn.h>
#include <stddef.h>

void* load_hidden(void);

/* Not as a tail call: ld.so takes the run path of the object that the return address lies in. */
void* load_hidden(void) {
  void* library = dlopen("libhidden.so", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  __asm__ volatile("" : : : "memory");
  return library;
}
