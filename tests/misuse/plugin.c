/* Loaded with RTLD_DEEPBIND: gives out objects of the allocator that it sees. */
#include <stddef.h>
#include <stdlib.h>

void* give(size_t size);

void* give(size_t size) { return malloc(size); }
