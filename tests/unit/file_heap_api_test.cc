#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "heap/heap.h"
#include "os/libc.h"
#include "poolmalloc/poolmalloc.h"
#include "tests/unit/fresh_process.h"
#include "tests/unit/scratch_file.h"

namespace {

using pm::test::in_fresh_process;
using pm::test::ScratchPath;

bool is_instrumented() {
  const char* name = nullptr;
  return pm::os::is_instrumented(&name);
}

int error_of(pm_heap_t* heap) {
  EXPECT(heap == nullptr);
  return errno;
}

int create_error(const char* path, size_t size, unsigned flags) {
  errno = 0;
  return error_of(pm_heap_create_file(path, size, flags));
}

TEST_CASE("where the C library serves there are no file heaps") {
  in_fresh_process([] {
    setenv("POOLMALLOC_ENABLED", "0", 1);
    EXPECT(create_error(scratch_directory(), 1 << 20, PM_HEAP_TEMPORARY) == ENOTSUP);
    EXPECT(pm_heap_of(&errno) == nullptr);
  });
}

TEST_CASE("what cannot be created says why") {
  if (is_instrumented()) return;
  in_fresh_process([] {
    const ScratchPath path;
    EXPECT(create_error(nullptr, 1, 0) == EINVAL);
    EXPECT(create_error(path.c_str(), 0, 0) == EINVAL);
    EXPECT(create_error(path.c_str(), 1, 8) == EINVAL);
    EXPECT(create_error(path.c_str(), 1, PM_HEAP_TEMPORARY | PM_HEAP_EXISTING) == EINVAL);
    EXPECT(create_error(path.c_str(), SIZE_MAX, 0) == ENOMEM);
    EXPECT(create_error(path.c_str(), 1, PM_HEAP_EXISTING) == ENOENT);
    EXPECT(create_error("/no/such/directory", 1, PM_HEAP_TEMPORARY) == ENOENT);
    EXPECT(!path.exists());
    pm_heap_t* const heap = pm_heap_create_file(path.c_str(), 1, 0);
    EXPECT(heap != nullptr && create_error(path.c_str(), 1, 0) == EEXIST);
    EXPECT(create_error(path.c_str(), 1, PM_HEAP_EXISTING) == EBUSY);
    pm_heap_info info;
    EXPECT(pm_heap_get_info(heap, &info) == 0 && info.size == 65536 && info.free == 65536 && info.backed == 0);
    EXPECT(pm_heap_destroy(heap) == 0 && path.exists());
    pm_heap_t* const again = pm_heap_create_file(path.c_str(), 1, PM_HEAP_EXISTING);
    EXPECT(again != nullptr && pm_heap_destroy(again) == 0);
    EXPECT(pm_heap_destroy(again) == -1 && errno == EINVAL);
    EXPECT(pm_heap_alloc(again, 1) == nullptr && errno == EINVAL);
    EXPECT(pm_heap_get_info(again, &info) == -1 && errno == EINVAL);
    EXPECT(pm_heap_trim(again, 1) == 0 && pm_heap_alloc(nullptr, 1) == nullptr);
  });
}

TEST_CASE("a child that lives on keeps no file locked, and unlocks none") {
  if (is_instrumented()) return;
  in_fresh_process([] {
    const ScratchPath path;
    pm_heap_t* const heap = pm_heap_create_file(path.c_str(), 1, 0);
    EXPECT(heap != nullptr);
    int go[2];
    int told[2];
    EXPECT(pipe(go) == 0 && pipe(told) == 0);
    const pid_t child = fork();
    EXPECT(child >= 0);
    char byte = 0;
    if (child == 0) {
      EXPECT(read(go[0], &byte, 1) == 1);
      EXPECT(pm_heap_destroy(heap) == 0 && write(told[1], "x", 1) == 1);
      EXPECT(read(go[0], &byte, 1) == 1);
      _exit(0);
    }
    EXPECT(write(go[1], "x", 1) == 1 && read(told[0], &byte, 1) == 1);
    EXPECT(create_error(path.c_str(), 1, PM_HEAP_EXISTING) == EBUSY);
    const pid_t second = fork();
    EXPECT(second >= 0);
    if (second == 0) {
      EXPECT(read(go[0], &byte, 1) == 1);
      _exit(0);
    }
    EXPECT(pm_heap_destroy(heap) == 0);
    pm_heap_t* const again = pm_heap_create_file(path.c_str(), 1, PM_HEAP_EXISTING);
    EXPECT(again != nullptr && write(go[1], "xx", 2) == 2);
    EXPECT(waitpid(child, nullptr, 0) == child && waitpid(second, nullptr, 0) == second);
  });
}

TEST_CASE("a directory that may not be written to") {
  if (is_instrumented()) return;
  in_fresh_process([] {
    // Root may write everywhere but where nobody can.
    EXPECT(create_error("/proc", 1, PM_HEAP_TEMPORARY) != 0);
    if (geteuid() == 0) EXPECT(setgid(65534) == 0 && setuid(65534) == 0);
    EXPECT(create_error("/", 1, PM_HEAP_TEMPORARY) == EACCES);
    EXPECT(create_error("/poolmalloc-test", 1, 0) == EACCES);
  });
}

TEST_CASE("the functions do what they are called") {
  if (is_instrumented()) return;
  in_fresh_process([] {
    pm_heap_t* const heap = pm_heap_create_file(scratch_directory(), 8 << 20, PM_HEAP_TEMPORARY);
    EXPECT(heap != nullptr);
    auto* p = static_cast<char*>(pm_heap_alloc(heap, 100));
    memset(p, 1, 100);
    pm_heap_free(heap, p);
    p = static_cast<char*>(pm_heap_calloc(heap, 10, 10));
    for (int i = 0; i < 100; ++i) EXPECT(p[i] == 0);
    EXPECT(pm_heap_of(p) == heap && pm_heap_usable_size(heap, p) == 112 && pm_heap_usable_size(heap, nullptr) == 0);
    EXPECT(pm_heap_calloc(heap, SIZE_MAX, 2) == nullptr && errno == ENOMEM);
    p[99] = 7;
    p = static_cast<char*>(pm_heap_realloc(heap, p, 200'000));
    EXPECT(p != nullptr && p[99] == 7);
    EXPECT(pm_heap_realloc(heap, p, 0) == nullptr);
    p = static_cast<char*>(pm_heap_realloc(heap, nullptr, 10));
    EXPECT(p != nullptr);
    pm_heap_free(heap, nullptr);
    EXPECT(is_aligned(pm_heap_aligned_alloc(heap, 1, 1), 16) && is_aligned(pm_heap_aligned_alloc(heap, 8192, 1), 8192));
    EXPECT(pm_heap_aligned_alloc(heap, 48, 1) == nullptr && errno == EINVAL);
    EXPECT(pm_heap_aligned_alloc(heap, 0, 1) == nullptr && errno == EINVAL);
    pm_heap_info info;
    EXPECT(pm_heap_get_info(heap, &info) == 0 && info.objects == 3 && info.size == 8 << 20);
    unsigned long long value = 0;
    EXPECT(pm_metric_get("file_heaps", &value) == 0 && value == 1);
    EXPECT(pm_metric_get("file_heap_bytes", &value) == 0 && value == info.used);
    EXPECT(pm_metric_get("file_heap_mapped_bytes", &value) == 0 && value == info.size);
    EXPECT(pm_metric_get("file_heap_backed_bytes", &value) == 0 && value == info.backed);
    errno = 123;
    pm_heap_free(heap, p);
    EXPECT(errno == 123 && pm_heap_trim(heap, SIZE_MAX) > 0);
    EXPECT(pm_heap_destroy(heap) == 0);
  });
}

TEST_CASE("another heap's object is misuse") {
  if (is_instrumented()) return;
  const pm::test::Outcome outcome = pm::test::run_in_child([] {
    setenv("POOLMALLOC_MISUSE", "continue", 1);
    pm_heap_t* const one = pm_heap_create_file(scratch_directory(), 1, PM_HEAP_TEMPORARY);
    pm_heap_t* const two = pm_heap_create_file(scratch_directory(), 1, PM_HEAP_TEMPORARY);
    void* const p = pm_heap_alloc(one, 10);
    pm_heap_free(two, p);
    EXPECT(pm_heap_realloc(two, p, 20) == nullptr && errno == EINVAL);
    void* const q = pm::allocate(10);
    pm_heap_free(two, q);
    pm_heap_info info;
    EXPECT(pm_heap_get_info(one, &info) == 0 && info.objects == 1);
    pm_heap_free(one, p);
  });
  INFO(outcome.output);
  CHECK(outcome.status == 0);
  CHECK(outcome.output.find("pm_heap_realloc of 0x") != std::string::npos);
  CHECK(outcome.output.find(", which does not belong to that heap, in ") != std::string::npos);
}

}  // namespace
