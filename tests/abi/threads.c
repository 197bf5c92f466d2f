/* Objects allocated in one thread are freed in another, in all directions at once, and keep their content on the way.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "expect.h"

enum { kThreads = 6, kSlots = 1024, kSteps = 300000 };

struct header {
  size_t size;
  unsigned char stamp;
};

static _Atomic(struct header*) slots[kSlots];

static struct header* make(uint64_t* random) {
  uint64_t choice = next_random(random);
  size_t size = sizeof(struct header) + (choice % 1024 == 0 ? next_random(random) % 300000 : next_random(random) % 500);
  struct header* made = malloc(size);
  EXPECT(made != NULL && is_aligned(made, 16));
  made->size = size;
  made->stamp = (unsigned char)choice;
  memset(made + 1, made->stamp, size - sizeof *made);
  return made;
}

static void destroy(struct header* object) {
  if (object == NULL) return;
  const unsigned char* bytes = (const unsigned char*)(object + 1);
  for (size_t i = 0; i < object->size - sizeof *object; ++i) EXPECT(bytes[i] == object->stamp);
  free(object);
}

static void* exchange(void* seed) {
  uint64_t random = (uint64_t)(uintptr_t)seed * 0x9e3779b97f4a7c15u;
  for (int step = 0; step < kSteps; ++step) {
    destroy(atomic_exchange(&slots[next_random(&random) % kSlots], make(&random)));
  }
  return NULL;
}

int main(void) {
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i) EXPECT(pthread_create(&threads[i], NULL, exchange, (void*)(i + 1)) == 0);
  for (int i = 0; i < kThreads; ++i) EXPECT(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < kSlots; ++i) destroy(slots[i]);
  return 0;
}
