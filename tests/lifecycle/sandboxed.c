/* A program without threads puts a filter over itself that ends it for a call that it does not make (sshd's child that
 * talks to strangers does), goes on allocating, and ends as it wants to. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "expect.h"

enum { SKIPPED = 77, kObjects = 2000 };

static void churn(void) {
  static void* objects[kObjects];
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < kObjects; ++i) objects[i] = malloc((size_t)(i * round % 5000));
    for (int i = 0; i < kObjects; ++i) free(objects[i]);
  }
}

int main(void) {
  churn();
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog filter = {sizeof rules / sizeof *rules, rules};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
    return SKIPPED;
  }
  churn();
  malloc_trim(0);
  churn();
  return 0;
}
