#include "heap/misuse.h"

#include <sys/mman.h>

#include <cstdlib>

#include "os/libc.h"
#include "tests/unit/fresh_process.h"

namespace {

using pm::test::Outcome;
using pm::test::run_in_child;

const void* const kObject = reinterpret_cast<const void*>(0x10000001000);
const void* const kInside = reinterpret_cast<const void*>(0x10000001008);

// Some address in this program's code.
const void* here() { return reinterpret_cast<const void*>(&pm::misuse_count); }

// What a report says, up to the caller's library, which is this program.
template <typename Report>
std::string line_of(Report report) {
  const Outcome outcome = run_in_child([&] {
    pm::abort_on_misuse = false;
    report();
    _exit(pm::misuse_count() == 1 ? 0 : 1);
  });
  CHECK(outcome.status == 0);
  return outcome.output;
}

TEST_CASE("each misuse is one exact line that names the caller's library") {
  CHECK(line_of([] { pm::report_double_free(kObject, 64, here()); }) ==
        "poolmalloc: double free of 0x10000001000 (size class 64) in misuse_test\n");
  CHECK(line_of([] { pm::report_double_free(kObject, 0, here()); }) ==
        "poolmalloc: double free of 0x10000001000 (large object) in misuse_test\n");
  CHECK(line_of([] { pm::report_late_double_free(kObject, 64); }) ==
        "poolmalloc: double free of 0x10000001000 (size class 64), found when it left the magazine\n");
  CHECK(line_of([] { pm::report_released(kObject, here()); }) ==
        "poolmalloc: double free of 0x10000001000 (its slab is gone) in misuse_test\n");
  CHECK(line_of([] { pm::report_inside(kInside, kObject, 64, here()); }) ==
        "poolmalloc: free of 0x10000001008, an address inside an object of size class 64 at 0x10000001000, in "
        "misuse_test\n");
  CHECK(line_of([] { pm::report_inside(kInside, kObject, 0, here()); }) ==
        "poolmalloc: free of 0x10000001008, an address inside a large object at 0x10000001000, in misuse_test\n");
  CHECK(line_of([] { pm::report_use_of_freed("realloc", kObject, 64, here()); }) ==
        "poolmalloc: realloc of freed 0x10000001000 (size class 64) in misuse_test\n");
  CHECK(line_of([] { pm::report_sized(kObject, 100, 64, here()); }) ==
        "poolmalloc: sized free of 0x10000001000 with size 100 (size class 64) in misuse_test\n");
}

TEST_CASE("a caller that no library holds is unknown code") {
  CHECK(line_of([] { pm::report_double_free(kObject, 64, nullptr); }) ==
        "poolmalloc: double free of 0x10000001000 (size class 64) in unknown code\n");
}

TEST_CASE("the line is followed by an abort") {
  const Outcome outcome = run_in_child([] { pm::report_double_free(kObject, 64, here()); });
  CHECK(WIFSIGNALED(outcome.status));
  CHECK(WTERMSIG(outcome.status) == SIGABRT);
  CHECK(outcome.output == "poolmalloc: double free of 0x10000001000 (size class 64) in misuse_test\n");
}

TEST_CASE("foreign pointers that cannot be the C library's are told by what is mapped there") {
  const auto said = [](const void* p) { return line_of([=] { EXPECT(!pm::check_foreign(p, "free", here())); }); };
  CHECK(said(reinterpret_cast<const void*>(16)) == "poolmalloc: free of 0x10, which is not mapped, in misuse_test\n");
  int local = 0;
  CHECK(said(&local).find(", which is on a stack, in misuse_test\n") != std::string::npos);
  static int variable = 1;
  CHECK(said(&variable).find(", which belongs to misuse_test, in misuse_test\n") != std::string::npos);
  CHECK(said("text").find(", which belongs to misuse_test, in misuse_test\n") != std::string::npos);
}

TEST_CASE("what may be the C library's is let through, and counted") {
  pm::test::in_fresh_process([] {
    pm::abort_on_misuse = false;
    void* const p = pm::os::libc_allocator().malloc(100);
    EXPECT(pm::check_foreign(p, "free", here()));
    EXPECT(pm::foreign_count() == 1 && pm::misuse_count() == 0);
    // After the first few nobody looks any more.
    for (int i = 0; i < 300; ++i) EXPECT(pm::check_foreign(p, "free", here()));
    EXPECT(pm::foreign_count() == 301);
    EXPECT(pm::check_foreign(reinterpret_cast<const void*>(16), "free", here()));
  });
}

}  // namespace
