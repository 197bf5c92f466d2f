/* Linked with the library and made setuid by the runner. Exit code 0: AT_SECURE is set; 4: it is not. */
#include <sys/auxv.h>

#include "expect.h"

int main(void) {
  for (size_t size = 1; size < 3000000; size *= 2) free(opaque(malloc(size)));
  return getauxval(AT_SECURE) != 0 ? 0 : 4;
}
