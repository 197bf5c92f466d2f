/* A preloaded library that allocates before anything else does: in an IFUNC resolver, while ld.so still relocates, and
 * in its constructor. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Volatile: a compiler may think that nobody calls the resolver. */
static void* volatile from_resolver;

#if WITH_RESOLVER
static int answer(void) { return 42; }

__attribute__((used)) static int (*resolve(void))(void) {
  from_resolver = calloc(10, 100);
  return answer;
}

/* Hidden, so that ld.so calls the resolver while it loads the library, but only after it has prepared its other calls,
 * calloc among them. (clang exports a static one, which ld.so would resolve at its first call.) */
int early_answer(void) __attribute__((ifunc("resolve"), visibility("hidden")));
#else
static int early_answer(void) { return 42; }
#endif

__attribute__((constructor)) static void start(void) {
  static const char word[] = "early\n";
  char* from_constructor = calloc(3, 50000);
  if ((WITH_RESOLVER && from_resolver == NULL) || from_constructor == NULL || from_constructor[149999] != 0 ||
      early_answer() != 42)
    return;
  if (WITH_RESOLVER) memset(from_resolver, 1, 1000);
  free(from_resolver);
  free(from_constructor);
  if (write(STDOUT_FILENO, word, sizeof word - 1) < 0) _exit(1);
}
