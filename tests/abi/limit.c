/* Under `ulimit -v`: malloc says NULL and ENOMEM at the end of the address space, not earlier than it must, and
 * recovers.
 *
 * The program starts itself anew under each limit, because an allocator may size its reservation when it starts.
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "expect.h"

struct node {
  struct node* next;
};

/* Returns how many bytes there were, as a list. */
static size_t take_all(struct node** list, size_t size) {
  size_t total = 0;
  for (;;) {
    errno = 0;
    struct node* node = malloc(size);
    if (node == NULL) {
      EXPECT(errno == ENOMEM);
      return total;
    }
    node->next = *list;
    *list = node;
    total += size;
  }
}

static void give_back(struct node** list) {
  while (*list != NULL) {
    struct node* next = (*list)->next;
    free(*list);
    *list = next;
  }
}

static void exhaust(size_t limit) {
  static const size_t sizes[] = {1000, 100000, 1 << 20, 48, 8 << 20, 1000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    struct node* list = NULL;
    size_t first = take_all(&list, sizes[i]);
    /* Every way to ask is refused in the same manner while memory is out. */
    errno = 0;
    EXPECT(calloc(16, 1 << 20) == NULL && errno == ENOMEM);
    void* untouched = &list;
    EXPECT(posix_memalign(&untouched, 1 << 16, 16 << 20) == ENOMEM && untouched == (void*)&list);
    errno = 0;
    EXPECT(realloc(opaque(list), 64 << 20) == NULL && errno == ENOMEM);
    give_back(&list);

    if (first < limit / 2) dprintf(STDERR_FILENO, "limit %zu, size %zu: only %zu bytes\n", limit, sizes[i], first);
    EXPECT(first >= limit / 2);
    size_t second = take_all(&list, sizes[i]);
    give_back(&list);
    EXPECT(second >= first - first / 10);
  }
}

int main(int argc, char** argv) {
  if (argc > 1) {
    exhaust((size_t)strtoull(argv[1], NULL, 10));
    return 0;
  }
  static const size_t megabytes[] = {200, 512, 1024};
  for (size_t i = 0; i < sizeof megabytes / sizeof *megabytes; ++i) {
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
      struct rlimit limit = {megabytes[i] << 20, megabytes[i] << 20};
      EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
      char text[32];
      snprintf(text, sizeof text, "%zu", megabytes[i] << 20);
      execl("/proc/self/exe", argv[0], text, (char*)NULL);
      expect_failed(__FILE__, __LINE__, "execl to replace the program");
    }
    int status;
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  return 0;
}
