// The layers are singletons that start once: each test of theirs runs in a process of its own.
#ifndef POOLMALLOC_TESTS_UNIT_FRESH_PROCESS_H_
#define POOLMALLOC_TESTS_UNIT_FRESH_PROCESS_H_

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/catch.h"
#include "tests/expect.h"

namespace pm::test {

struct Outcome {
  int status;          // as waitpid gives it
  std::string output;  // what came on stderr
};

// Runs the body in a child. Checks inside are EXPECT, which ends the child.
template <typename Body>
Outcome run_in_child(Body body) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    // Catch's handlers would report the child's end as if it were the test's.
    for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTERM}) signal(number, SIG_DFL);
    body();
    _exit(0);
  }
  close(ends[1]);
  Outcome outcome = {0, {}};
  char chunk[512];
  for (ssize_t n; (n = read(ends[0], chunk, sizeof chunk)) > 0;) outcome.output.append(chunk, static_cast<size_t>(n));
  close(ends[0]);
  REQUIRE(waitpid(child, &outcome.status, 0) == child);
  return outcome;
}

template <typename Body>
void in_fresh_process(Body body) {
  const Outcome outcome = run_in_child(body);
  INFO(outcome.output);
  CHECK(WIFEXITED(outcome.status));
  CHECK(WEXITSTATUS(outcome.status) == 0);
}

// The body must abort, with this on stderr.
template <typename Body>
void expect_abort(Body body, const std::string& said) {
  const Outcome outcome = run_in_child(body);
  INFO(outcome.output);
  CHECK(WIFSIGNALED(outcome.status));
  CHECK(outcome.output.find(said) != std::string::npos);
}

}  // namespace pm::test

#endif  // POOLMALLOC_TESTS_UNIT_FRESH_PROCESS_H_
