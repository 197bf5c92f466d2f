#include "base/check.h"

#include "tests/unit/fresh_process.h"

namespace {

using pm::test::expect_abort;
using pm::test::in_fresh_process;

TEST_CASE("a broken invariant is one line, then an abort") {
  const pm::test::Outcome outcome = pm::test::run_in_child([] {
    volatile int one = 1;
    PM_CHECK(one == 2);
  });
  CHECK(WIFSIGNALED(outcome.status));
  CHECK(WTERMSIG(outcome.status) == SIGABRT);
  CHECK(outcome.output.rfind("poolmalloc: broken invariant: one == 2 (", 0) == 0);
  CHECK(outcome.output.find("check_test.cc:") != std::string::npos);
  CHECK(outcome.output.find('\n') == outcome.output.size() - 1);
}

TEST_CASE("an abort cannot be caught and survived") {
  expect_abort(
      [] {
        signal(SIGABRT, [](int) {});
        volatile int one = 1;
        PM_CHECK(one == 2);
        _exit(0);
      },
      "broken invariant");
}

TEST_CASE("what holds costs nothing; ASSERT is for debug builds alone") {
  in_fresh_process([] {
    int evaluated = 0;
    PM_CHECK(++evaluated == 1);
    EXPECT(evaluated == 1);
    PM_ASSERT(++evaluated == 2);
    EXPECT(evaluated == (POOLMALLOC_DEBUG ? 2 : 1));
  });
}

}  // namespace
