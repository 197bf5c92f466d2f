/* Threads allocate and free without a pause while others fork; the children allocate, free and exit: fork_storm [RUNS
 * [PATIENCE]].
 *
 * Each run is a process of its own. A hang anywhere ends in SIGALRM, which is a failure; PATIENCE makes that wait
 * longer by this factor, for emulated processors.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "expect.h"

enum { kAllocators = 4, kForkers = 3, kForks = 20, kSlots = 256, kRunSeconds = 90, kChildSeconds = 30 };

static _Atomic(void*) slots[kSlots];
static atomic_bool stop;
static unsigned patience = 1;

static size_t some_size(uint64_t* random) {
  uint64_t choice = next_random(random);
  return choice % 256 == 0 ? (size_t)(next_random(random) % 500000) : (size_t)(choice >> 32) % 600;
}

static void churn(uint64_t* random, int steps) {
  for (int i = 0; i < steps; ++i) {
    size_t size = some_size(random);
    char* made = malloc(size);
    EXPECT(made != NULL);
    if (size > 0) made[0] = made[size - 1] = 1;
    free(atomic_exchange(&slots[next_random(random) % kSlots], made));
  }
}

static void* allocate(void* seed) {
  uint64_t random = (uint64_t)(uintptr_t)seed * 0x9e3779b97f4a7c15u;
  while (!atomic_load(&stop)) churn(&random, 100);
  return NULL;
}

static void* allocate_in_child(void* seed) {
  uint64_t random = (uint64_t)(uintptr_t)seed * 0xd1342543de82ef95u;
  churn(&random, 1000);
  return NULL;
}

/* Frees what the parent left, starts a thread of its own, forks once more: all that a real child may do. */
static void child(uint64_t random) {
  alarm(kChildSeconds * patience);
  churn(&random, 1000);
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, allocate_in_child, (void*)(uintptr_t)7) == 0);
  churn(&random, 1000);
  EXPECT(pthread_join(thread, NULL) == 0);
  pid_t grandchild = fork();
  EXPECT(grandchild >= 0);
  if (grandchild == 0) {
    alarm(kChildSeconds * patience);
    churn(&random, 500);
    _exit(0);
  }
  int status;
  EXPECT(waitpid(grandchild, &status, 0) == grandchild && status == 0);
  exit(0);
}

static void* fork_often(void* seed) {
  uint64_t random = (uint64_t)(uintptr_t)seed * 0xbf58476d1ce4e5b9u;
  for (int i = 0; i < kForks; ++i) {
    churn(&random, 50);
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) child(random);
    int status;
    EXPECT(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) dprintf(STDERR_FILENO, "child ended by signal %d\n", WTERMSIG(status));
    EXPECT(status == 0);
  }
  return NULL;
}

static void storm(void) {
  alarm(kRunSeconds * patience);
  pthread_t allocators[kAllocators], forkers[kForkers];
  for (uintptr_t i = 0; i < kAllocators; ++i)
    EXPECT(pthread_create(&allocators[i], NULL, allocate, (void*)(i + 1)) == 0);
  for (uintptr_t i = 0; i < kForkers; ++i) EXPECT(pthread_create(&forkers[i], NULL, fork_often, (void*)(i + 100)) == 0);
  for (int i = 0; i < kForkers; ++i) EXPECT(pthread_join(forkers[i], NULL) == 0);
  atomic_store(&stop, true);
  for (int i = 0; i < kAllocators; ++i) EXPECT(pthread_join(allocators[i], NULL) == 0);
}

int main(int argc, char** argv) {
  int runs = argc > 1 ? atoi(argv[1]) : 1, failed = 0;
  if (argc > 2) patience = (unsigned)atoi(argv[2]);
  EXPECT(runs > 0 && patience > 0);
  for (int run = 1; run <= runs; ++run) {
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
      storm();
      exit(0);
    }
    int status;
    EXPECT(waitpid(pid, &status, 0) == pid);
    if (status != 0) {
      ++failed;
      dprintf(STDERR_FILENO, "run %d of %d failed: %s %d\n", run, runs, WIFSIGNALED(status) ? "signal" : "exit code",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
  }
  printf("%d of %d runs failed\n", failed, runs);
  return failed != 0;
}
