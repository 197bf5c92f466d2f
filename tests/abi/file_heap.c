/* File heaps through the malloc ABI of a preloaded library: their objects are freed and resized as all others, a full
 * disk is an error and no signal, and a child of fork leaves its parent's heap alone. */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "expect.h"
#include "poolmalloc/poolmalloc.h"
#include "scratch.h"

#define FUNCTION(name) static __typeof__(&pm_heap_##name) heap_##name
FUNCTION(create_file);
FUNCTION(destroy);
FUNCTION(alloc);
FUNCTION(get_info);
FUNCTION(of);

#define FIND(name) heap_##name = __extension__(__typeof__(heap_##name)) dlsym(RTLD_DEFAULT, "pm_heap_" #name)

static size_t objects_in(pm_heap_t* heap) {
  struct pm_heap_info info;
  EXPECT(heap_get_info(heap, &info) == 0);
  return info.objects;
}

static pm_heap_t* temporary(size_t size) {
  pm_heap_t* heap = heap_create_file(scratch_directory(), size, PM_HEAP_TEMPORARY);
  EXPECT(heap != NULL);
  return heap;
}

static void plain_functions(void) {
  pm_heap_t* heap = temporary(64 << 20);
  for (size_t size = 1; size < 10000000; size = size * 3 + 1) {
    char* object = heap_alloc(heap, size);
    EXPECT(object != NULL && malloc_usable_size(object) >= size);
    memset(object, 7, size);
    object = realloc(object, size + size / 2 + 1);
    EXPECT(object != NULL && heap_of(object) == heap);
    for (size_t i = 0; i < size; ++i) EXPECT(object[i] == 7);
    errno = 5;
    free(object);
    EXPECT(errno == 5 && objects_in(heap) == 0);
  }
  /* What malloc gives has nothing to do with it. */
  void* plain = malloc(300000);
  EXPECT(heap_of(plain) == NULL && objects_in(heap) == 0);
  free(plain);
  void* last = heap_alloc(heap, 10);
  EXPECT(realloc(last, 100 << 20) == NULL && errno == ENOMEM && objects_in(heap) == 1);
  EXPECT(realloc(last, 0) == NULL && objects_in(heap) == 0);
  EXPECT(heap_destroy(heap) == 0);
}

static void* allocate_and_free(void* heap) {
  for (size_t i = 1; i < 20000; ++i) {
    size_t size = i * 7919 % 3000 + 1;
    char* object = heap_alloc(heap, size);
    EXPECT(object != NULL);
    object[0] = object[size - 1] = (char)i;
    char* plain = malloc(size);
    free(object);
    free(plain);
  }
  return NULL;
}

static void threads(void) {
  pm_heap_t* heap = temporary(16 << 20);
  pthread_t running[4];
  for (int i = 0; i < 4; ++i) EXPECT(pthread_create(&running[i], NULL, allocate_and_free, heap) == 0);
  for (int i = 0; i < 4; ++i) EXPECT(pthread_join(running[i], NULL) == 0);
  EXPECT(objects_in(heap) == 0 && heap_destroy(heap) == 0);
}

static void child_of(pm_heap_t* heap, char* object) {
  EXPECT(strcmp(object, "parent") == 0);
  free(object);
  EXPECT(heap_alloc(heap, 10) == NULL && errno == EPERM);
  EXPECT(realloc(object, 100000) == NULL);
  strcpy(object, "child");
  free(heap_alloc(temporary(1 << 20), 10));
}

static void fork_shares(void) {
  pm_heap_t* heap = temporary(1 << 20);
  char* object = heap_alloc(heap, 100);
  strcpy(object, "parent");
  pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    child_of(heap, object);
    _exit(0);
  }
  int status = 1;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  EXPECT(strcmp(object, "child") == 0 && objects_in(heap) == 1);
  free(object);
  EXPECT(objects_in(heap) == 0 && heap_destroy(heap) == 0);
}

/* A disk of four mebibytes, which only this process sees. 0 if the system does not let us. */
static int mount_small_disk(char* directory) {
  EXPECT(snprintf(directory, 200, "%s/poolmalloc-disk-XXXXXX", scratch_directory()) < 200);
  EXPECT(mkdtemp(directory) != NULL);
  if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
      mount("none", directory, "tmpfs", 0, "size=4m") == 0) {
    return 1;
  }
  rmdir(directory);
  return 0;
}

static int full_disk(void) {
  char directory[200];
  if (!mount_small_disk(directory)) return 0;
  pm_heap_t* heap = heap_create_file(directory, 64 << 20, PM_HEAP_TEMPORARY);
  EXPECT(heap != NULL);
  EXPECT(heap_alloc(heap, 5 << 20) == NULL && errno == ENOSPC);
  char* object;
  size_t got = 0;
  while ((object = heap_alloc(heap, 100000)) != NULL) {
    memset(object, 1, 100000); /* a SIGBUS would end us here */
    got += 100000;
  }
  EXPECT(errno == ENOSPC && got > 2 << 20 && got <= 4 << 20);
  while ((object = heap_alloc(heap, 100)) != NULL) memset(object, 1, 100);
  EXPECT(errno == ENOSPC && heap_destroy(heap) == 0);
  EXPECT(umount(directory) == 0 && rmdir(directory) == 0);
  return 1;
}

int main(void) {
  FIND(create_file), FIND(destroy), FIND(alloc), FIND(get_info), FIND(of);
  EXPECT(heap_create_file != NULL && heap_of != NULL);
  plain_functions();
  fork_shares(); /* while there is one thread, and no fork handler */
  threads();
  fork_shares();
  if (!full_disk()) printf("no small disk could be mounted: a full one was not tried\n");
  return 0;
}
