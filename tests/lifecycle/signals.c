/* A timer's signal handler allocates and frees at a high rate and in the midst of the same calls in the main code.
 *
 * POSIX does not allow it, programs do it all the same: the heap must neither hang nor break. A hang ends in SIGALRM.
 */
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "expect.h"

enum { kSlots = 64, kMilliseconds = 3000, kPeriodNanoseconds = 50000, kSeconds = 60, kFewest = 500 };

static void* of_handler[kSlots];
static uint64_t handler_random = 88172645463325252u;
static atomic_int handled;

static void* stamped(uint64_t* random) {
  uint64_t choice = next_random(random);
  size_t size =
      16 + (choice % 200 == 0 ? (size_t)(next_random(random) % 2000000) : (size_t)(next_random(random) % 1000));
  size_t* made = malloc(size);
  EXPECT(made != NULL);
  made[0] = size;
  memset((char*)made + size - 8, 0x3c, 8);
  return made;
}

static void release(void* object) {
  if (object == NULL) return;
  size_t size = *(size_t*)object;
  const unsigned char* bytes = object;
  for (size_t i = size - 8; i < size; ++i) EXPECT(bytes[i] == 0x3c);
  free(object);
}

static void handler(int signal) {
  int kept = errno;
  (void)signal;
  for (int i = 0; i < 4; ++i) {
    void** slot = &of_handler[next_random(&handler_random) % kSlots];
    release(*slot);
    *slot = stamped(&handler_random);
  }
  atomic_fetch_add(&handled, 1);
  errno = kept;
}

static long now_milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(void) {
  alarm(kSeconds);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  timer_t timer;
  EXPECT(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  struct itimerspec period = {{0, kPeriodNanoseconds}, {0, kPeriodNanoseconds}};
  EXPECT(timer_settime(timer, 0, &period, NULL) == 0);

  static void* objects[4096];
  uint64_t random = 1234567;
  for (long end = now_milliseconds() + kMilliseconds; now_milliseconds() < end;) {
    for (int i = 0; i < 500; ++i) {
      void** slot = &objects[next_random(&random) % 4096];
      release(*slot);
      *slot = stamped(&random);
    }
  }
  struct itimerspec never = {{0, 0}, {0, 0}};
  EXPECT(timer_settime(timer, 0, &never, NULL) == 0);
  for (int i = 0; i < 4096; ++i) release(objects[i]);
  for (int i = 0; i < kSlots; ++i) release(of_handler[i]);
  EXPECT(atomic_load(&handled) >= kFewest);
  return 0;
}
