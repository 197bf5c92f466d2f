// Do pages lie on the memory node of the CPU that asked for them? For a real machine with several nodes, or an emulated
// one (scripts/numa-proof); with one node there is nothing to see, and it is skipped.
//
// Threads are pinned to every CPU in turn, allocate small and large objects and free them again for the next to find;
// move_pages(2) says where the pages are. Then objects go from one node to another to be freed, and one node is filled
// so that its threads must be served by others. Prints a table and one line PASS or FAIL for each part.
#include <dlfcn.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kMaxNodes = 16, kMaxCpus = 64, kSkipped = 77, kSmall = 12000, kLarge = 12, kPassed = 8000 };

static int node_count;
static int nodes[kMaxNodes];
static int cpu_count;
static int cpus[kMaxCpus];
static int node_of_cpu[kMaxCpus];
static int failures;

static int read_text(const char* path, char* text, size_t size) {
  FILE* const file = fopen(path, "r");
  if (file == NULL) return 0;
  const size_t length = fread(text, 1, size - 1, file);
  text[length] = 0;
  fclose(file);
  return length > 0;
}

static void add_cpus(int node, const char* list) {
  while (*list >= '0' && *list <= '9') {
    char* end;
    const long first = strtol(list, &end, 10);
    const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
    for (long cpu = first; cpu <= last && cpu_count < kMaxCpus; ++cpu) {
      cpus[cpu_count] = (int)cpu;
      node_of_cpu[cpu_count++] = node;
    }
    list = *end == ',' ? end + 1 : end;
  }
}

static void find_nodes(void) {
  for (int node = 0; node < 256 && node_count < kMaxNodes; ++node) {
    char path[80];
    char text[4096];
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
    if (!read_text(path, text, sizeof text)) continue;
    nodes[node_count++] = node;
    add_cpus(node, text);
  }
}

static int cpu_of(int node) {
  for (int i = 0; i < cpu_count; ++i) {
    if (node_of_cpu[i] == node) return cpus[i];
  }
  return -1;
}

static long free_kilobytes(int node) {
  char path[80];
  char text[512];
  snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
  const char* p = read_text(path, text, sizeof text) ? strstr(text, "MemFree:") : NULL;
  return p == NULL ? 0 : strtol(p + 8, NULL, 10);
}

static unsigned long long metric(const char* name) {
  int (*get)(const char*, unsigned long long*);
  void* const found = dlsym(RTLD_DEFAULT, "pm_metric_get");
  memcpy(&get, &found, sizeof get);
  unsigned long long value = 0;
  if (get == NULL || get(name, &value) != 0) {
    printf("FAIL: no metric %s; is the library preloaded?\n", name);
    exit(1);
  }
  return value;
}

static void verdict(int good, const char* what) {
  printf("%s: %s\n", good ? "PASS" : "FAIL", what);
  failures += !good;
}

// Of the pages that the addresses are in, each counted once: how many are on the node.
static void count_pages(void* const* addresses, size_t count, int node, size_t* pages, size_t* there) {
  static void* page[1024];
  static int status[1024];
  *pages = *there = 0;
  uintptr_t last = 0;
  for (size_t i = 0; i < count;) {
    size_t n = 0;
    for (; i < count && n < 1024; ++i) {
      const uintptr_t at = (uintptr_t)addresses[i] & ~(uintptr_t)4095;
      if (at == last) continue;
      last = at;
      page[n++] = (void*)at;
    }
    if (syscall(SYS_move_pages, 0, n, page, NULL, status, 0) != 0) {
      perror("move_pages");
      exit(1);
    }
    for (size_t k = 0; k < n; ++k) {
      *pages += status[k] >= 0;
      *there += status[k] == node;
    }
  }
}

// What a thread on one CPU does.
struct Job {
  int cpu;
  int node;
  void* (*work)(struct Job*);
  void* small[kSmall];
  void* objects[kLarge];      // large ones
  void* large[kLarge * 256];  // each of their pages
  size_t large_pages;
};

static size_t small_size(size_t i) { return 16 + i * 37 % 2000; }

static void* allocate(struct Job* job) {
  for (size_t i = 0; i < kSmall; ++i) {
    job->small[i] = malloc(small_size(i));
    memset(job->small[i], 1, small_size(i));
  }
  job->large_pages = 0;
  for (size_t i = 0; i < kLarge; ++i) {
    const size_t bytes = (i % 4 + 1) * 256 * 1024;
    char* const p = malloc(bytes);
    job->objects[i] = p;
    for (size_t at = 0; at < bytes; at += 4096) {
      p[at] = 1;
      job->large[job->large_pages++] = p + at;
    }
  }
  return NULL;
}

static void* release(struct Job* job) {
  for (size_t i = 0; i < kSmall; ++i) free(job->small[i]);
  for (size_t i = 0; i < kLarge; ++i) free(job->objects[i]);
  return NULL;
}

static void* allocate_passed(struct Job* job) {
  for (size_t i = 0; i < kPassed; ++i) {
    job->small[i] = malloc(256);
    memset(job->small[i], 1, 256);
  }
  return NULL;
}

static void* free_passed(struct Job* job) {
  for (size_t i = 0; i < kPassed; ++i) free(job->small[i]);
  return NULL;
}

// Pages that did not fit on the node lie elsewhere; what counts is that the program goes on.
static void* allocate_much(struct Job* job) {
  job->large_pages = 0;
  for (size_t i = 0; i < 2; ++i) {
    const size_t bytes = 60 << 20;
    char* const p = malloc(bytes);
    if (p == NULL) return NULL;
    for (size_t at = 0; at < bytes; at += 4096) {
      p[at] = 1;
      if (at % (64 * 1024) == 0) job->large[job->large_pages++] = p + at;
    }
  }
  return job;
}

static void* pinned(void* argument) {
  struct Job* const job = argument;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)job->cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    perror("sched_setaffinity");
    exit(1);
  }
  return job->work(job);
}

static void* run(struct Job* job, int cpu, int node, void* (*work)(struct Job*)) {
  job->cpu = cpu;
  job->node = node;
  job->work = work;
  pthread_t thread;
  void* result = NULL;
  if (pthread_create(&thread, NULL, pinned, job) != 0 || pthread_join(thread, &result) != 0) {
    perror("pthread");
    exit(1);
  }
  return result;
}

static struct Job job;

static void check_placement(void) {
  int good = 1;
  printf("%5s %5s %12s %9s %12s %9s\n", "node", "cpu", "small pages", "on node", "large pages", "on node");
  for (int i = 0; i < cpu_count; ++i) {
    run(&job, cpus[i], node_of_cpu[i], allocate);
    size_t small, small_there, large, large_there;
    count_pages(job.small, kSmall, job.node, &small, &small_there);
    count_pages(job.large, job.large_pages, job.node, &large, &large_there);
    printf("%5d %5d %12zu %8.2f%% %12zu %8.2f%%\n", job.node, job.cpu, small,
           100.0 * (double)small_there / (double)small, large, 100.0 * (double)large_there / (double)large);
    // What is free now must not be given to threads of other nodes.
    run(&job, cpus[i], node_of_cpu[i], release);
    good &= small_there * 100 >= small * 95 && large_there * 100 >= large * 95 && small > 0 && large > 0;
  }
  verdict(good, "at least 95 % of the pages lie on the node of the CPU that asked");
}

static void check_remote_frees(void) {
  const int home = nodes[0];
  const int away = nodes[1];
  run(&job, cpu_of(home), home, allocate_passed);
  const unsigned long long before = metric("remote_frees");
  run(&job, cpu_of(away), away, free_passed);
  const unsigned long long sent = metric("remote_frees") - before;
  // The rest lies in the magazine of the CPU that freed.
  printf("freed on another node: %d objects, of which sent home: %llu\n", kPassed, sent);
  run(&job, cpu_of(home), home, allocate_passed);
  size_t pages, there;
  count_pages(job.small, kPassed, home, &pages, &there);
  printf("allocated again at home: %zu pages, on the node %.2f%%\n", pages, 100.0 * (double)there / (double)pages);
  verdict(sent * 2 >= kPassed, "objects freed on another node go home");
  verdict(there * 100 >= pages * 95, "and are used again there");
}

static void check_full_node(void) {
  const int full = nodes[node_count - 1];
  const unsigned long mask = 1UL << full;
  // The kernel keeps some back, and would end a program that insists on that.
  while (free_kilobytes(full) > 56 * 1024) {
    const size_t bytes = 4 << 20;
    void* const p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || syscall(SYS_mbind, p, bytes, MPOL_BIND, &mask, 64, 0) != 0) {
      perror("filling a node");
      exit(1);
    }
    memset(p, 1, bytes);
  }
  printf("node %d filled: %ld KiB left\n", full, free_kilobytes(full));
  const unsigned long long before = metric("node_fallbacks");
  const int served = run(&job, cpu_of(full), full, allocate_much) != NULL;
  size_t pages, there;
  count_pages(job.large, job.large_pages, full, &pages, &there);
  printf("120 MiB asked for there: %zu pages looked at, elsewhere %.2f%%, fallbacks %llu\n", pages,
         100.0 * (double)(pages - there) / (double)pages, metric("node_fallbacks") - before);
  verdict(served, "a thread on a full node is served");
  verdict(metric("node_fallbacks") > before && (pages - there) * 100 >= pages * 95, "from other nodes");
}

int main(int argc, char** argv) {
  find_nodes();
  if (node_count < 2) {
    printf("skipped: this machine has one memory node\n");
    return kSkipped;
  }
  setvbuf(stdout, NULL, _IONBF, 0);
  // The heap learns its nodes when it has grown.
  for (int i = 0; i < 48; ++i) memset(malloc(1 << 20), 1, 1 << 20);
  check_placement();
  if (argc > 1 && strcmp(argv[1], "placement") == 0) return failures != 0;
  printf("nodes %llu, bound %llu MiB, refusals %llu, remote refills %llu of %llu\n", metric("nodes"),
         metric("bound_bytes") >> 20, metric("bind_failures"), metric("remote_refills"), metric("refills"));
  verdict(metric("nodes") == (unsigned long long)node_count && metric("bind_failures") == 0, "all nodes are known");
  check_remote_frees();
  // Filling a node takes what other programs may need: only where that is asked for.
  if (getenv("FILL_A_NODE") != NULL) check_full_node();
  return failures != 0;
}
