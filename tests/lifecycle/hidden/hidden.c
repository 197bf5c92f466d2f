/* Gives out and takes objects, with the malloc that it sees. */
#include <stdlib.h>
#include <string.h>

char* give(size_t size);
void take(char* object);

char* give(size_t size) {
  char* object = malloc(size);
  if (object != NULL) memset(object, 'g', size);
  return object;
}

void take(char* object) { free(object); }
