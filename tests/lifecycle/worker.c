/* The background worker in the life of a process, under the preloaded library with a low POOLMALLOC_WORKER_START_BYTES.
 * One case a run: its name is the first argument. */
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>

#include "expect.h"

#define MIB (1024 * 1024)
#define SKIPPED 77

extern char __libc_single_threaded __attribute__((weak));

static int threads(void) { return (int)proc_number("/proc/self/status", "\nThreads:"); }

static void pause_ms(long ms) {
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  nanosleep(&time, NULL);
}

/* What the library says of itself. */
static unsigned long long metric(const char* name) {
  int (*get)(const char*, unsigned long long*) = NULL;
  *(void**)&get = dlsym(RTLD_DEFAULT, "pm_metric_get");
  EXPECT(get != NULL);
  unsigned long long value = 0;
  EXPECT(get(name, &value) == 0);
  return value;
}

enum { kObjects = 64 * 16 };
static char* objects[kObjects];

static void fill(void) {
  for (int i = 0; i < kObjects; ++i) {
    objects[i] = malloc(60000);
    EXPECT(objects[i] != NULL);
    memset(objects[i], 1, 60000);
  }
}

static void empty(void) {
  for (int i = 0; i < kObjects; ++i) free(objects[i]);
}

/* Has the worker started, or leaves the test where the kernel does not allow it. */
static void grow(void) {
  fill();
  for (int i = 0; i < 1000 && metric("worker_state") == 0; ++i) pause_ms(1);
  if (metric("worker_state") != 1) exit(SKIPPED);
}

/* glibc goes on taking the program for single-threaded; the worker is there, with a name; and memory that came free
 * goes back while the program does nothing. */
static void single(void) {
  char* kept[4];
  for (int i = 0; i < 4; ++i) kept[i] = memset(malloc(4 * MIB), 2, 4 * MIB);
  grow();
  EXPECT(&__libc_single_threaded == NULL || __libc_single_threaded != 0);
  EXPECT(threads() == 2);
  size_t full = resident_bytes();
  empty();
  size_t live = full - (size_t)kObjects * 60000;
  size_t now = resident_bytes();
  for (int i = 0; i < 300 && now > live + live / 10 + 8 * MIB; ++i) {
    pause_ms(100);
    now = resident_bytes();
  }
  printf("resident: %zu full, %zu after\n", full, now);
  EXPECT(now <= live + live / 10 + 8 * MIB);
  for (int i = 0; i < 4; ++i) {
    for (size_t at = 0; at < 4 * MIB; at += 4096) EXPECT(kept[i][at] == 2);
    free(kept[i]);
  }
}

static volatile sig_atomic_t caught;
static volatile sig_atomic_t caught_elsewhere;
static pid_t main_thread;

static void on_signal(int number) {
  (void)number;
  if (syscall(SYS_gettid) != main_thread) caught_elsewhere = 1;
  ++caught;
  free(malloc(100000));
}

/* Signals to the process find the program's own thread, never the worker. */
static void signals(void) {
  main_thread = (pid_t)syscall(SYS_gettid);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_signal;
  EXPECT(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGCHLD, &action, NULL) == 0);
  grow();
  for (int i = 0; i < 200; ++i) {
    EXPECT(kill(getpid(), i % 2 == 0 ? SIGUSR1 : SIGCHLD) == 0);
    if (i % 20 == 0) fill(), empty(), fill();
  }
  EXPECT(caught == 200 && !caught_elsewhere);
}

/* Children inherit a heap in order, without a worker; they get one of their own. */
static void forks(void) {
  grow();
  for (int i = 0; i < 30; ++i) {
    if (i % 10 == 0) empty(), fill();
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
      EXPECT(threads() == 1);
      empty();
      fill();
      if (i % 5 == 0) {
        for (int wait = 0; wait < 1000 && metric("worker_state") == 0; ++wait) {
          pause_ms(1);
          free(malloc(100000));
        }
        EXPECT(metric("worker_state") == 1 && threads() == 2);
      }
      _exit(0);
    }
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
  }
  EXPECT(metric("worker_state") == 1);
}

/* A child that shares its parent's memory starts nothing there. */
static void vforks(void) {
  for (volatile int i = 0; i < 20; ++i) {
    if (i == 10) grow();
    pid_t child = vfork();
    if (child == 0) {
      char* volatile p = malloc(200000);
      free(p);
      execl("/bin/true", "true", (char*)NULL);
      _exit(1);
    }
    int status = -1;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  }
  EXPECT(threads() == 2);
}

/* Nor does it take the place of its parent's worker if it is the first that would need one. */
static void vfork_first(void) {
  pid_t child = vfork();
  if (child == 0) {
    fill();
    empty();
    _exit(threads() == 1 ? 0 : 1);
  }
  int status = -1;
  EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
  grow();
  EXPECT(threads() == 2);
}

static void* end_late(void* unused) {
  (void)unused;
  pause_ms(50);
  return NULL;
}

/* Every way to end, in a child each; none hangs, none loses its status. */
static void ends(const char* program) {
  const char* ways[] = {"return", "_exit", "exec", "pthread_exit", "pthread_exit_late", "raw_exit", "abort", "kill"};
  for (size_t i = 0; i < sizeof ways / sizeof ways[0]; ++i) {
    pid_t child = fork();
    if (child == 0) {
      execl(program, program, "end", ways[i], (char*)NULL);
      _exit(99);
    }
    int status = -1;
    pid_t ended = 0;
    for (int wait = 0; wait < 2000 && ended == 0; ++wait) {
      ended = waitpid(child, &status, WNOHANG);
      if (ended == 0) pause_ms(10);
    }
    if (ended != child) {
      dprintf(STDERR_FILENO, "%s hangs\n", ways[i]);
      kill(child, SIGKILL);
      exit(1);
    }
    int expected = i == 6 ? SIGABRT : i == 7 ? SIGKILL : i < 3 ? (int)(3 + i) << 8 : i == 5 ? 8 << 8 : 0;
    if (i == 6) status &= 0x7f;
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) exit(SKIPPED);
    if (status != expected) dprintf(STDERR_FILENO, "%s: status %x\n", ways[i], (unsigned)status);
    EXPECT(status == expected);
  }
}

static int end(const char* program, const char* way) {
  (void)program;
  grow();
  if (strcmp(way, "return") == 0) return 3;
  if (strcmp(way, "_exit") == 0) _exit(4);
  if (strcmp(way, "exec") == 0) execl("/bin/sh", "sh", "-c", "exit 5", (char*)NULL);
  if (strcmp(way, "pthread_exit") == 0) pthread_exit(NULL);
  if (strcmp(way, "pthread_exit_late") == 0) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, end_late, NULL) == 0);
    pthread_exit(NULL);
  }
  if (strcmp(way, "raw_exit") == 0) syscall(SYS_exit, 8);
  if (strcmp(way, "abort") == 0) abort();
  kill(getpid(), SIGKILL);
  return 1;
}

/* The program closes every descriptor it does not know, again and again, and opens files of its own: they get their own
 * content, and the worker goes on. */
static void closing(void) {
  grow();
  char path[] = "/tmp/poolmalloc-worker-XXXXXX";
  int file = mkstemp(path);
  EXPECT(file >= 0);
  unlink(path);
  for (int round = 0; round < 30; ++round) {
    for (int fd = 3; fd < 1024; ++fd) {
      if (fd != file) close(fd);
    }
    int copies[8];
    for (int i = 0; i < 8; ++i) copies[i] = dup(file);
    EXPECT(pwrite(file, "mine", 4, 0) == 4);
    pause_ms(30);
    char text[8] = "";
    EXPECT(pread(copies[7], text, sizeof text, 0) == 4 && memcmp(text, "mine", 4) == 0);
  }
  unsigned long long rounds = metric("worker_rounds");
  for (int i = 0; i < 200 && metric("worker_rounds") == rounds; ++i) pause_ms(50);
  EXPECT(metric("worker_rounds") > rounds && metric("worker_state") == 1);
}

/* What the kernel allows to processes of one thread only works as without us. */
static void namespaces(void) {
  pid_t plain = fork();
  if (plain == 0) _exit(unshare(CLONE_NEWUSER) == 0 ? 0 : 1);
  int status = -1;
  EXPECT(waitpid(plain, &status, 0) == plain);
  if (status != 0) exit(SKIPPED);
  grow();
  EXPECT(threads() == 2);
  EXPECT(unshare(CLONE_NEWUSER) == 0);
  empty();
  fill();
  EXPECT(metric("worker_starts") >= 1);
}

/* A process that changes its user gets a worker with the new one. */
static void users(void) {
  if (getuid() != 0) exit(SKIPPED);
  grow();
  EXPECT(setgid(65534) == 0 && setuid(65534) == 0);
  unsigned long long starts = metric("worker_starts");
  for (int i = 0; i < 300 && metric("worker_starts") == starts; ++i) {
    pause_ms(50);
    free(malloc(200000));
  }
  EXPECT(metric("worker_starts") > starts);
}

/* Without a worker the program's own calls do its work. */
static void slices(void) {
  fill();
  EXPECT(threads() == 1);
  empty();
  size_t before = resident_bytes();
  for (int i = 0; i < 400; ++i) {
    free(malloc(200000));
    pause_ms(25);
    if (metric("worker_state") == 2 && resident_bytes() + 20 * MIB < before) return;
  }
  printf("worker_state %llu, resident %zu of %zu\n", metric("worker_state"), resident_bytes(), before);
  const int goes_back = 0;
  EXPECT(goes_back);
}

int main(int argc, char** argv) {
  EXPECT(argc >= 2);
  const char* name = argv[1];
  if (strcmp(name, "end") == 0) return end(argv[0], argv[2]);
  if (strcmp(name, "ends") == 0) return ends(argv[0]), 0;
  const struct {
    const char* name;
    void (*run)(void);
  } cases[] = {{"single", single},
               {"signals", signals},
               {"forks", forks},
               {"vforks", vforks},
               {"vfork_first", vfork_first},
               {"closing", closing},
               {"namespaces", namespaces},
               {"users", users},
               {"slices", slices}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    if (strcmp(name, cases[i].name) == 0) return cases[i].run(), 0;
  }
  const int is_known_case = 0;
  EXPECT(is_known_case);
}
