#include "os/libc.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include <string>

#include "base/compiler.h"
#include "tests/catch.h"

namespace {

using namespace pm;

std::string library_of(const void* p) {
  Dl_info info;
  if (dladdr(p, &info) == 0) return "";
  return info.dli_fname;
}

const void* inside_libc() { return reinterpret_cast<const void*>(&getauxval); }

TEST_CASE("symbols are found in the object that holds the address") {
  void* const found = os::find_symbol(inside_libc(), "malloc");
  REQUIRE(found != nullptr);
  CHECK(library_of(found).find("libc.so") != std::string::npos);
  CHECK(os::find_symbol(inside_libc(), "getauxval") == inside_libc());
  CHECK(os::find_symbol(inside_libc(), "no_such_function") == nullptr);
  CHECK(os::find_symbol(inside_libc(), "mallo") == nullptr);
  int local = 0;
  CHECK(os::find_symbol(&local, "malloc") == nullptr);
}

TEST_CASE("what is found works, and is whole") {
  const os::LibcAllocator& libc = os::libc_allocator();
  REQUIRE(libc.malloc != nullptr);
  REQUIRE(libc.free != nullptr);
  REQUIRE(libc.calloc != nullptr);
  REQUIRE(libc.realloc != nullptr);
  REQUIRE(libc.memalign != nullptr);
  REQUIRE(libc.malloc_usable_size != nullptr);
  auto* const p = static_cast<char*>(libc.calloc(10, 10));
  REQUIRE(p != nullptr);
  CHECK(libc.malloc_usable_size(p) >= 100);
  memset(p, 7, 100);
  auto* const q = static_cast<char*>(libc.realloc(p, 5000));
  CHECK(q[99] == 7);
  libc.free(q);
  void* const aligned = libc.memalign(256, 1);
  CHECK(reinterpret_cast<uintptr_t>(aligned) % 256 == 0);
  libc.free(aligned);
  CHECK(&os::libc_allocator() == &libc);
}

// This program holds the whole library, so that malloc is ours.
#if !PM_SANITIZED
TEST_CASE("it is the C library's own, not what has the name here") {
  void* const named = reinterpret_cast<void*>(&malloc);
  void* const found = reinterpret_cast<void*>(os::libc_allocator().malloc);
  CHECK(library_of(named).find("libc_test") != std::string::npos);
  CHECK(library_of(found).find("libc.so") != std::string::npos);
  CHECK(found == os::find_symbol(inside_libc(), "malloc"));
  CHECK(found != named);
}
#endif

TEST_CASE("instruments are seen where they are") {
  const char* name = nullptr;
  const bool found = os::is_instrumented(&name);
  CHECK(found == (PM_SANITIZED != 0));
  CHECK(found == (name != nullptr));
}

}  // namespace
