#include <stdlib.h>

#include "misuse.h"

/* The barrier keeps the call from becoming a jump: the caller's address is what a report is made from. */
void release(void* object) {
  free(object);
  __asm__ volatile("" : : : "memory");
}
