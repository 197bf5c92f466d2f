/* Two processes in one memory group: one holds 120 MiB and frees 100 of them a third of a second after the other has
 * begun to allocate 120. What either has live fits at any time; what the second one wants comes too early.
 *
 * Argument: "fork" for a thread that forks meanwhile, slowly. */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>

#include "expect.h"

#define MIB (1024 * 1024)

static void pause_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&time, &time) != 0) {
  }
}

static unsigned long long metric(const char* name) {
  int (*get)(const char*, unsigned long long*) = NULL;
  *(void**)&get = dlsym(RTLD_DEFAULT, "pm_metric_get");
  unsigned long long value = 0;
  EXPECT(get != NULL && get(name, &value) == 0);
  return value;
}

static char* objects[120];

static void take(int from, int to) {
  for (int i = from; i < to; ++i) {
    objects[i] = malloc(MIB);
    EXPECT(objects[i] != NULL);
    memset(objects[i], 1, MIB);
  }
}

static void gone(void) {
  dprintf(STDERR_FILENO, "the other was killed\n");
  _exit(1);
}

static void tell(int fd) {
  if (write(fd, "x", 1) != 1) gone();
}

static void hear(int fd) {
  char byte;
  if (read(fd, &byte, 1) != 1) gone();
}

static void hold(int in, int out) {
  take(0, 120);
  tell(out);
  hear(in);
  pause_ms(300);
  for (int i = 20; i < 120; ++i) free(objects[i]);
  hear(in);
}

static volatile int slow;
static void be_slow(void) {
  if (slow) pause_ms(1200);
}

static void* forks(void* unused) {
  (void)unused;
  for (int i = 0; i < 280 && metric("emergencies") == 0; ++i) pause_ms(1);
  slow = 1;
  pid_t child = fork();
  if (child == 0) _exit(0);
  int status = -1;
  EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  return NULL;
}

int main(int argc, char** argv) {
  if (argc == 4) return hold(atoi(argv[2]), atoi(argv[3])), 0;
  /* Registered before the library's own handlers, which come with the first thread: so this one runs after them, while
   * they have the worker parked. */
  EXPECT(pthread_atfork(be_slow, NULL, NULL) == 0);
  signal(SIGPIPE, SIG_IGN);
  int there[2];
  int back[2];
  EXPECT(pipe(there) == 0 && pipe(back) == 0);
  pid_t other = fork();
  EXPECT(other >= 0);
  if (other == 0) {
    close(there[1]);
    close(back[0]);
    char in[16];
    char out[16];
    snprintf(in, sizeof in, "%d", there[0]);
    snprintf(out, sizeof out, "%d", back[1]);
    execl(argv[0], argv[0], "hold", in, out, (char*)NULL);
    _exit(1);
  }
  close(there[0]);
  close(back[1]);
  take(0, 20);
  hear(back[0]);
  for (int i = 0; i < 300 && metric("worker_rounds") == 0; ++i) pause_ms(10);
  if (metric("worker_state") != 1) {
    printf("has no worker\n");
    tell(there[1]);
    tell(there[1]);
    return 0;
  }
  pthread_t thread;
  int forking = argc == 2;
  tell(there[1]);
  /* It forks once this thread waits. */
  if (forking) EXPECT(pthread_create(&thread, NULL, forks, NULL) == 0);
  take(20, 120);
  if (forking) pthread_join(thread, NULL);
  unsigned long long kicks = metric("worker_kicks");
  printf("survived, %llu emergencies, %llu kicks\n", metric("emergencies"), kicks);
  EXPECT(kicks < 500);
  tell(there[1]);
  int status = -1;
  EXPECT(waitpid(other, &status, 0) == other);
  if (status != 0) gone();
  return 0;
}
