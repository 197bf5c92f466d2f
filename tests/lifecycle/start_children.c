/* vfork with exec, posix_spawn, system and popen, while threads allocate. */
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "expect.h"

enum { kRounds = 40, kThreads = 2, kSeconds = 120 };

extern char** environ;
static atomic_bool stop;

static void* allocate(void* seed) {
  uint64_t random = (uint64_t)(uintptr_t)seed * 0x9e3779b97f4a7c15u;
  while (!atomic_load(&stop)) {
    size_t size = (size_t)(next_random(&random) % 3000);
    char* made = malloc(size);
    EXPECT(made != NULL);
    memset(made, 1, size);
    free(made);
  }
  return NULL;
}

static void expect_success(pid_t pid) {
  int status;
  EXPECT(pid > 0);
  EXPECT(waitpid(pid, &status, 0) == pid);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void) {
  alarm(kSeconds);
  static char* arguments[] = {"/bin/sh", "-c", "test \"$(echo a b c | wc -w)\" -eq 3", NULL};
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i) EXPECT(pthread_create(&threads[i], NULL, allocate, (void*)(i + 1)) == 0);
  for (int round = 0; round < kRounds; ++round) {
    void* kept = malloc(2000);
    pid_t pid = vfork();
    if (pid == 0) {
      execv(arguments[0], arguments);
      _exit(126);
    }
    expect_success(pid);
    EXPECT(posix_spawn(&pid, arguments[0], NULL, NULL, arguments, environ) == 0);
    expect_success(pid);
    EXPECT(system("exit 3") == 3 << 8);
    FILE* pipe = popen("echo through a pipe", "r");
    char line[64] = "";
    EXPECT(pipe != NULL && fgets(line, sizeof line, pipe) != NULL && strcmp(line, "through a pipe\n") == 0);
    EXPECT(pclose(pipe) == 0);
    free(kept);
  }
  atomic_store(&stop, true);
  for (int i = 0; i < kThreads; ++i) EXPECT(pthread_join(threads[i], NULL) == 0);
  return 0;
}
