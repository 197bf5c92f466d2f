/* As small as a program gets: prints its resident bytes, its threads, and the files that are mapped into it. */
#include "expect.h"

int main(void) {
  size_t resident = resident_bytes();
  size_t threads = proc_number("/proc/self/status", "\nThreads:");
  dprintf(STDOUT_FILENO, "%zu %zu\n", resident, threads);
  int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  EXPECT(maps >= 0);
  char text[4096];
  ssize_t got;
  while ((got = read(maps, text, sizeof text)) > 0) EXPECT(write(STDOUT_FILENO, text, (size_t)got) == got);
  return 0;
}
