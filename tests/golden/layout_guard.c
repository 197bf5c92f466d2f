// Preloaded beside the library: takes away its pages that a small process should not touch, before anything else runs.
// Whoever touches one all the same is told, and ends. The pages are named by offsets: GUARD="LIBRARY FIRST END" (hex).
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uintptr_t base;

static void on_touch(int number, siginfo_t* info, void* context) {
  (void)number;
  (void)context;
  char line[64];
  const int length = snprintf(line, sizeof line, "touched %lx\n", (unsigned long)((uintptr_t)info->si_addr - base));
  if (write(2, line, (size_t)length) != length) _exit(98);
  _exit(99);
}

// Linked with -z initfirst, hence before the C library has set `environ`.
__attribute__((constructor)) static void guard(int count, char** arguments, char** environment) {
  (void)count;
  (void)arguments;
  static char maps[1 << 16];
  static char stack[1 << 14];
  char library[512];
  unsigned long first = 0;
  unsigned long end = 0;
  while (*environment != NULL && strncmp(*environment, "GUARD=", 6) != 0) ++environment;
  const char* const wanted = *environment;
  if (wanted == NULL || sscanf(wanted, "GUARD=%511s %lx %lx", library, &first, &end) != 3) _exit(97);
  const int file = open("/proc/self/maps", O_RDONLY);
  size_t length = 0;
  for (ssize_t n; length < sizeof maps - 1 && (n = read(file, maps + length, sizeof maps - 1 - length)) > 0;) {
    length += (size_t)n;
  }
  close(file);
  char* line = strstr(maps, library);
  if (line == NULL) _exit(96);
  while (line > maps && line[-1] != '\n') --line;
  base = strtoul(line, NULL, 16);
  const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack, .ss_flags = 0};
  struct sigaction action = {.sa_sigaction = on_touch, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  if (sigaltstack(&other, NULL) != 0 || sigaction(SIGSEGV, &action, NULL) != 0) _exit(95);
  if (mprotect((void*)(base + first), end - first, PROT_NONE) != 0) _exit(94);
}
