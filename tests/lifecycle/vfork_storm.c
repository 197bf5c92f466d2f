/* Children of vfork that allocate while their parent's other threads do. POSIX forbids them nearly everything, but
 * shells and run times have always called opendir and the like there, and the C library's allocator puts up with it.
 * Such a child has its parent's memory and thread-local storage, and is another task to the kernel. */
#include <pthread.h>
#include <sys/wait.h>

#include "expect.h"

enum { kThreads = 3, kChildren = 16, kHeld = 64, kTurns = 300000 };

static volatile int stop;

/* Two holders of one object overwrite each other's mark. */
static void churn(uint64_t seed, int turns) {
  struct held {
    struct held* self;
    void** holder;
    char more[32];
  };
  void* held[kHeld] = {NULL};
  for (int i = 0; i < turns; ++i) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    void** const place = &held[(seed >> 33) % kHeld];
    struct held* object = *place;
    if (object != NULL) {
      EXPECT(object->self == object && object->holder == held);
      free(object);
    }
    object = malloc(sizeof *object);
    EXPECT(object != NULL);
    object->self = object;
    object->holder = held;
    *place = object;
  }
  for (int i = 0; i < kHeld; ++i) free(held[i]);
}

static void* work(void* number) {
  for (uint64_t seed = (uintptr_t)number; !stop; seed += kThreads) churn(seed, kTurns / 10);
  return NULL;
}

/* A child that forks on has no area of its own either. */
static int fork_on(void) {
  const pid_t child = fork();
  if (child == 0) {
    churn(1, 1000);
    _exit(0);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child ? status : 1;
}

static int vfork_on(void) {
  const pid_t child = vfork();
  if (child == 0) {
    churn(2, kTurns / 4);
    _exit(0);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child ? status : 1;
}

int main(void) {
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) {
    EXPECT(pthread_create(&threads[i], NULL, work, (void*)(uintptr_t)(i + 1)) == 0);
  }
  for (volatile int i = 0; i < kChildren; ++i) {
    const pid_t child = vfork();
    if (child == 0) {
      churn((uint64_t)i, kTurns);
      int status = i % 4 == 0 ? fork_on() : i % 4 == 1 ? vfork_on() : 0;
      /* After its own child it is as it was. */
      churn((uint64_t)i, kTurns / 4);
      _exit(status);
    }
    int status = -1;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    churn((uint64_t)i, kTurns / 10);
  }
  stop = 1;
  for (int i = 0; i < kThreads; ++i) EXPECT(pthread_join(threads[i], NULL) == 0);
  return 0;
}
