/* One misuse of the heap per run, chosen by name. The addresses in question are printed first, for the runner to
 * compare.
 *
 * Prints "survived" when the library let the program go on.
 */
#include "misuse.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "expect.h"
#include "poolmalloc/poolmalloc.h"
#include "scratch.h"

enum { kSmall = 64, kLong = 20 << 10, kLarge = 1 << 20 }; /* kLong: a class whose slabs are many granules long */

/* Writes the address at once: a line in a buffer would be lost in the abort. */
static void* announce(void* address) {
  dprintf(STDOUT_FILENO, "%p\n", address);
  return opaque(address);
}

/* Not the first object of its slab, and with neighbours that stay alive. */
static char* small_object(void) {
  for (int i = 0; i < 10; ++i) EXPECT(opaque(malloc(kSmall)) != NULL);
  char* object = malloc(kSmall);
  EXPECT(object != NULL);
  memset(object, 1, kSmall);
  return object;
}

static char* large_object(void) {
  char* object = malloc(kLarge);
  EXPECT(object != NULL);
  memset(object, 1, kLarge);
  return object;
}

static void none(void) {}

static void double_free(void) {
  void* object = announce(small_object());
  free(object);
  free(opaque(object));
}

static void free_between(int count) {
  void* others[200];
  for (int i = 0; i < count; ++i) others[i] = malloc(kSmall);
  void* object = announce(small_object());
  free(object);
  for (int i = 0; i < count; ++i) free(others[i]);
  free(opaque(object));
}

/* The next one who would get it finds out. */
static void double_free_after_one(void) {
  free_between(1);
  for (int i = 0; i < 3; ++i) (void)opaque(malloc(kSmall));
}

static void double_free_delayed(void) { free_between(3); }

static void double_free_after_200(void) { free_between(200); }

static void double_free_large(void) {
  void* object = announce(large_object());
  free(object);
  free(opaque(object));
}

static void double_free_in_library(void) {
  void* object = announce(small_object());
  release(object);
  release(opaque(object));
}

static void* free_it(void* object) {
  free(object);
  return NULL;
}

static void run_on(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET((size_t)cpu, &one);
  /* A machine with one CPU runs everything there. */
  (void)sched_setaffinity(0, sizeof one, &one);
}

static void* free_on_second_cpu(void* object) {
  run_on(1);
  free(object);
  return NULL;
}

/* The second free meets another CPU's magazine, which cannot know. It comes out when both are flushed. */
static void double_free_on_another_cpu(void) {
  run_on(0);
  void* object = announce(small_object());
  free(object);
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, free_on_second_cpu, opaque(object)) == 0);
  EXPECT(pthread_join(thread, NULL) == 0);
  malloc_trim(0);
}

static void double_free_in_another_thread(void) {
  run_on(0);
  void* object = announce(small_object());
  free(object);
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, free_it, opaque(object)) == 0);
  EXPECT(pthread_join(thread, NULL) == 0);
}

static void inside(char* object, size_t offset) {
  void* address = announce(object + offset);
  announce(object);
  free(address);
}

static void interior(void) { inside(small_object(), 16); }

static char* long_object(void) {
  for (int i = 0; i < 10; ++i) EXPECT(opaque(malloc(kLong)) != NULL);
  char* object = malloc(kLong);
  EXPECT(object != NULL);
  memset(object, 1, kLong);
  return object;
}

/* By as much as objects of the class can be apart in different granules. */
static void interior_long(void) { inside(long_object(), 4096); }

static void double_free_long(void) {
  char* object = announce(long_object());
  void* between = opaque(malloc(kLong));
  free(object);
  free(between);
  free(opaque(object));
}

static void misaligned(void) { inside(small_object(), 1); }

static void misaligned_by_8(void) { inside(small_object(), 8); }

static void interior_large(void) { inside(large_object(), 65536); }

static void misaligned_large(void) { inside(large_object(), 8); }

static void stack(void) {
  char local[64];
  memset(local, 1, sizeof local);
  free(announce(local));
}

static void* free_a_local(void* unused) {
  char local[64];
  memset(local, 1, sizeof local);
  free(announce(local));
  return unused;
}

static void thread_stack(void) {
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, free_a_local, NULL) == 0);
  EXPECT(pthread_join(thread, NULL) == 0);
}

static void unmapped(void) {
  char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(page != MAP_FAILED && munmap(page, 4096) == 0);
  free(announce(page + 64));
}

static void static_data(void) {
  static char data[64] = "not from the heap";
  free(announce(data));
}

static void vdso(void) { free(announce((char*)getauxval(AT_SYSINFO_EHDR) + 64)); }

static void realloc_freed(void) {
  void* object = announce(small_object());
  free(object);
  opaque(realloc(opaque(object), 200));
}

static void realloc_freed_large(void) {
  void* object = announce(large_object());
  free(object);
  opaque(realloc(opaque(object), 200));
}

static void usable_size_freed(void) {
  void* object = announce(small_object());
  free(object);
  opaque_size(malloc_usable_size(opaque(object)));
}

static void sized_free_by(const char* function) {
  void (*sized)(void*, size_t) = __extension__(void (*)(void*, size_t)) dlsym(RTLD_DEFAULT, function);
  EXPECT(sized != NULL);
  sized(announce(small_object()), 4096);
}

static void sized_free(void) { sized_free_by("free_sized"); }

static void sized_delete(void) { sized_free_by("_ZdlPvm"); }

/* The C library's own allocator, as a program meets it that looked malloc up in libc.so.6. */
static void* of_libc(const char* name) {
  void* libc = dlopen("libc.so.6", RTLD_NOW);
  EXPECT(libc != NULL);
  void* function = dlsym(libc, name);
  EXPECT(function != NULL);
  return function;
}

static void foreign(void) {
  void* (*libc_malloc)(size_t) = __extension__(void* (*)(size_t)) of_libc("malloc");
  void *first = libc_malloc(100), *second = libc_malloc(5000000);
  free(announce(first));
  free(second);
}

static void foreign_realloc(void) {
  void* (*libc_malloc)(size_t) = __extension__(void* (*)(size_t)) of_libc("malloc");
  char* object = libc_malloc(100);
  memset(object, 7, 100);
  announce(object);
  object = realloc(object, 5000);
  EXPECT(object != NULL);
  for (int i = 0; i < 100; ++i) EXPECT(object[i] == 7);
  memset(object, 8, 5000);
  free(object);
}

/* With RTLD_DEEPBIND a library prefers libc's malloc to the preloaded one; its objects then arrive here. */
static void foreign_deepbind(void) {
  void* library = dlopen(PLUGIN_PATH, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  EXPECT(library != NULL);
  void* (*give)(size_t) = __extension__(void* (*)(size_t)) dlsym(library, "give");
  EXPECT(give != NULL);
  void *first = give(100), *second = give(200);
  free(announce(first));
  free(second);
}

/* A file heap's objects, reached as a program reaches them that only may be running with the library. */
#define PM_FUNCTION(name) (__typeof__(&name))dlsym(RTLD_DEFAULT, #name)

static pm_heap_t* file_heap(void) {
  pm_heap_t* heap = __extension__(PM_FUNCTION(pm_heap_create_file))(scratch_directory(), 1 << 20, PM_HEAP_TEMPORARY);
  EXPECT(heap != NULL);
  return heap;
}

static char* file_object(pm_heap_t* heap, size_t size) {
  char* object = __extension__(PM_FUNCTION(pm_heap_alloc))(heap, size);
  EXPECT(object != NULL);
  memset(object, 1, size);
  return object;
}

static void file_double_free(void) {
  pm_heap_t* heap = file_heap();
  file_object(heap, 64);
  void* object = announce(file_object(heap, 64));
  free(object);
  free(opaque(object));
}

static void file_double_free_large(void) {
  void* object = announce(file_object(file_heap(), 200000));
  free(object);
  free(opaque(object));
}

static void file_interior(void) { inside(file_object(file_heap(), 64), 16); }

static void file_realloc_freed(void) {
  pm_heap_t* heap = file_heap();
  file_object(heap, 64);
  void* object = announce(file_object(heap, 64));
  free(object);
  opaque(realloc(opaque(object), 200));
}

static void file_sized_free(void) {
  void (*sized)(void*, size_t) = __extension__(void (*)(void*, size_t)) dlsym(RTLD_DEFAULT, "free_sized");
  sized(announce(file_object(file_heap(), 64)), 4096);
}

static void file_destroyed(void) {
  pm_heap_t* heap = file_heap();
  void* object = announce(file_object(heap, 64));
  EXPECT(__extension__(PM_FUNCTION(pm_heap_destroy))(heap) == 0);
  free(object);
}

static void file_other_heap(void) {
  void* object = announce(file_object(file_heap(), 64));
  __extension__(PM_FUNCTION(pm_heap_free))(file_heap(), object);
}

static const struct {
  const char* name;
  void (*run)(void);
} kCases[] = {
    {"none", none},
    {"double_free", double_free},
    {"double_free_after_one", double_free_after_one},
    {"double_free_delayed", double_free_delayed},
    {"double_free_after_200", double_free_after_200},
    {"double_free_large", double_free_large},
    {"double_free_in_library", double_free_in_library},
    {"double_free_in_another_thread", double_free_in_another_thread},
    {"double_free_on_another_cpu", double_free_on_another_cpu},
    {"interior", interior},
    {"misaligned", misaligned},
    {"misaligned_by_8", misaligned_by_8},
    {"interior_long", interior_long},
    {"double_free_long", double_free_long},
    {"interior_large", interior_large},
    {"misaligned_large", misaligned_large},
    {"stack", stack},
    {"thread_stack", thread_stack},
    {"unmapped", unmapped},
    {"static_data", static_data},
    {"vdso", vdso},
    {"realloc_freed", realloc_freed},
    {"realloc_freed_large", realloc_freed_large},
    {"usable_size_freed", usable_size_freed},
    {"sized_free", sized_free},
    {"sized_delete", sized_delete},
    {"file_double_free", file_double_free},
    {"file_double_free_large", file_double_free_large},
    {"file_interior", file_interior},
    {"file_realloc_freed", file_realloc_freed},
    {"file_sized_free", file_sized_free},
    {"file_destroyed", file_destroyed},
    {"file_other_heap", file_other_heap},
    {"foreign", foreign},
    {"foreign_realloc", foreign_realloc},
    {"foreign_deepbind", foreign_deepbind},
};

int main(int argc, char** argv) {
  EXPECT(argc == 2);
  for (size_t i = 0; i < sizeof kCases / sizeof *kCases; ++i) {
    if (strcmp(argv[1], kCases[i].name) != 0) continue;
    kCases[i].run();
    dprintf(STDOUT_FILENO, "survived\n");
    return 0;
  }
  expect_failed(__FILE__, __LINE__, "the name of a case");
}
