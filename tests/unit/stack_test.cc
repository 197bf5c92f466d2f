#include "profile/stack.h"

#include <alloca.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "base/compiler.h"
#include "os/objects.h"
#include "profile/cfi.h"
#include "tests/catch.h"

#define UNW_LOCAL_ONLY
#if POOLMALLOC_LIBUNWIND
#include <libunwind.h>
#endif

namespace {

using namespace pm;

// What a walk from here sees, and what libunwind, which is told nothing by us, says of the same frames.
struct Seen {
  uintptr_t ours[kMaxStack];
  unsigned depth;
  uintptr_t theirs[kMaxStack];
  unsigned their_depth;
};
Seen seen;

[[gnu::noinline]] void look() {
  const os::FrameStart here = os::frame_here();
  seen.depth = walk_stack(here.pc, here.stack, here.frame, true, seen.ours, kMaxStack);
  seen.their_depth = 0;
#if POOLMALLOC_LIBUNWIND
  unw_context_t context;
  unw_cursor_t cursor;
  unw_getcontext(&context);
  unw_init_local(&cursor, &context);
  while (seen.their_depth < kMaxStack && unw_step(&cursor) > 0) {
    unw_word_t pc = 0;
    unw_get_reg(&cursor, UNW_REG_IP, &pc);
    seen.theirs[seen.their_depth++] = pc;
  }
#endif
}

// The address inside a function: a frame of it is on the stack.
bool has_frame_of(const void* function) {
  const auto start = reinterpret_cast<uintptr_t>(function);
  return std::any_of(seen.ours, seen.ours + seen.depth, [&](uintptr_t pc) { return pc > start && pc < start + 4096; });
}

// libunwind steps beyond the outermost frame where that says that there is no caller: a 0 at the end.
void check_same() {
  REQUIRE(seen.depth >= 2);
#if POOLMALLOC_LIBUNWIND
  unsigned theirs = seen.their_depth;
  while (theirs > 0 && seen.theirs[theirs - 1] == 0) --theirs;
  CHECK(seen.depth == theirs);
  for (unsigned i = 0; i < std::min(seen.depth, theirs); ++i) {
    INFO(i);
    CHECK(seen.ours[i] == seen.theirs[i]);
  }
#endif
}

[[gnu::noinline]] int recurse(int depth) {
  if (depth == 0) {
    look();
    return 1;
  }
  volatile int below = recurse(depth - 1);  // the compiler makes no loop of it
  return below + depth;
}

[[gnu::noinline]] int with_alloca(size_t n) {
  char* const p = static_cast<char*>(alloca(n));
  memset(p, 1, n);
  look();
  return p[n / 2];
}

// The compiler keeps the frame's address in memory here.
[[gnu::noinline]] int realigned(size_t n) {
  alignas(256) char big[1024];
  char* const p = static_cast<char*>(alloca(n));
  memset(big, 1, sizeof big);
  memset(p, 2, n);
  look();
  return big[n % 1024] + p[0];
}

[[gnu::noinline]] int many_arguments(int a, int b, int c, int d, int e, int f, int g, int h, int i) {
  look();
  return a + b + c + d + e + f + g + h + i;
}

[[gnu::noinline]] int compare(const void* a, const void* b) {
  look();
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

struct LooksWhenItGoes {
  ~LooksWhenItGoes() { look(); }
};

[[gnu::noinline]] void throw_through() {
  const LooksWhenItGoes witness;
  throw 1;
}

volatile int looked = 0;
void on_signal(int) {
  look();
  looked = 1;  // so that the call above is no jump
}

TEST_CASE("stacks of all shapes are libunwind's") {
  volatile int zero = 0;
  SECTION("a plain one") {
    recurse(zero);
    check_same();
    CHECK(has_frame_of(reinterpret_cast<const void*>(recurse)));
  }
  SECTION("a deep one is cut at its outer end") {
    recurse(zero + 10);
    check_same();
    recurse(zero + 1000);
    CHECK(seen.depth == kMaxStack);
    for (unsigned i = 2; i < kMaxStack; ++i) CHECK(seen.ours[i] == seen.ours[1]);
  }
  SECTION("room on the stack by its size") {
    with_alloca(static_cast<size_t>(zero) + 12345);
    check_same();
  }
  SECTION("a realigned frame") {
    realigned(static_cast<size_t>(zero) + 77);
    check_same();
  }
  SECTION("arguments on the stack") {
    many_arguments(zero, 1, 2, 3, 4, 5, 6, 7, 8);
    check_same();
  }
  SECTION("a callback of the C library's") {
    int numbers[] = {3, 1, 2};
    qsort(numbers, 3, sizeof numbers[0], compare);
    check_same();
    CHECK(has_frame_of(reinterpret_cast<const void*>(compare)));
  }
  SECTION("a callback of a template") {
    std::vector<int> numbers(100);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int>(i * 7919 % 100);
    std::sort(numbers.begin(), numbers.end(), [](int a, int b) {
      look();
      return a < b;
    });
    check_same();
  }
  SECTION("while an exception is on its way") {
    try {
      throw_through();
    } catch (int) {
    }
    check_same();
    // A sanitizer's build may have what throws far from the function's start.
    if (!PM_SANITIZED) CHECK(has_frame_of(reinterpret_cast<const void*>(throw_through)));
  }
  SECTION("another thread") {
    std::thread([] { recurse(3); }).join();
    check_same();
  }
}

TEST_CASE("out of a signal handler, also one on a stack of its own") {
  static char stack[64 * 1024];
  for (const int flags : {0, SA_ONSTACK}) {
    stack_t own = {};
    own.ss_sp = stack;
    own.ss_size = sizeof stack;
    REQUIRE(sigaltstack(&own, nullptr) == 0);
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = flags;
    REQUIRE(sigaction(SIGUSR1, &action, nullptr) == 0);
    REQUIRE(raise(SIGUSR1) == 0);
    check_same();
    CHECK(has_frame_of(reinterpret_cast<const void*>(on_signal)));
    CHECK(seen.depth >= 6);
  }
}

TEST_CASE("code without tables is walked by frame pointers, and nonsense ends the walk") {
  // Frames as code without tables leaves them: the caller's frame pointer and the return address behind it.
  uintptr_t frames[16] = {};
  const auto code = reinterpret_cast<uintptr_t>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const auto address = [&](unsigned i) { return reinterpret_cast<uintptr_t>(&frames[i]); };
  frames[2] = address(6);
  frames[3] = code + 100;
  frames[6] = address(10);
  frames[7] = code + 200;
  frames[10] = 0;
  frames[11] = code + 300;
  uintptr_t out[kMaxStack];
  REQUIRE(walk_stack(code + 50, address(0), address(2), false, out, kMaxStack) == 3);
  CHECK(out[0] == code + 100);
  CHECK(out[1] == code + 200);
  CHECK(out[2] == code + 300);
  // Downward, misaligned, far away, and into memory that is not there.
  for (const uintptr_t bad : {address(0), address(7) + 3, address(6) + (uintptr_t{1} << 40), uintptr_t{8}}) {
    frames[6] = bad;
    INFO(bad);
    CHECK(walk_stack(code + 50, address(0), address(2), false, out, kMaxStack) == 2);
  }
  // Into the guard behind a stack.
  void* const pages = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const auto end = reinterpret_cast<uintptr_t>(pages) + 4096;
  REQUIRE(mprotect(reinterpret_cast<void*>(end), 4096, PROT_NONE) == 0);
  auto* const last = reinterpret_cast<uintptr_t*>(end) - 2;
  last[0] = end + 64;
  last[1] = code + 100;
  CHECK(walk_stack(code + 50, end - 64, end - 16, false, out, kMaxStack) == 1);
}

TEST_CASE("expressions compute what the standard says, and refuse what they cannot") {
  const FrameRegisters registers = {100, 200, 300};
  const WordLoader load = [](void*, uintptr_t address, uintptr_t& value) {
    value = address + 1;
    return address != 13;
  };
  const auto value_of = [&](std::vector<uint8_t> code, uintptr_t& out) {
    return evaluate_expression(code.data(), code.size(), registers, true, 7, load, nullptr, out);
  };
  uintptr_t out = 0;
  // What linkage tables say: sp + 8 + ((((pc & 15) >= 11) ? 1 : 0) << 3).
  REQUIRE(value_of({0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}, out));
  CHECK(out == 208);
  REQUIRE(value_of({0x76, 0x78, 0x06}, out));  // the word at fp - 8
  CHECK(out == 293);
  REQUIRE(value_of({0x23, 0x81, 0x01}, out));  // the initial 7, plus 129
  CHECK(out == 136);
  // Comparisons are signed: ==, >=, >, <=, <, !=, each of 1 with 1, of 2 with 1 and of -1 with 1.
  const unsigned expected[][4] = {{0x29, 1, 0, 0}, {0x2a, 1, 1, 0}, {0x2b, 0, 1, 0},
                                  {0x2c, 1, 0, 1}, {0x2d, 0, 0, 1}, {0x2e, 0, 1, 1}};
  for (const auto& [operation, same, more, less] : expected) {
    INFO(operation);
    const auto op = static_cast<uint8_t>(operation);
    CHECK((value_of({0x31, 0x31, op}, out) && out == same));
    CHECK((value_of({0x32, 0x31, op}, out) && out == more));
    CHECK((value_of({0x09, 0xff, 0x31, op}, out) && out == less));
  }
  CHECK(!value_of({0x3d, 0x06}, out));  // memory that cannot be read
  CHECK(!value_of({0x50}, out));        // an operation that is not known
  CHECK(!value_of({0x73, 0}, out));     // a register that is not followed
  CHECK(!value_of({0x77}, out));        // cut off
  CHECK(!value_of({0x1a}, out));        // one operand for two
}

__attribute__((noinline)) unsigned capture_here(uintptr_t (&out)[kMaxStack]) {
  const unsigned depth = capture_stack(out);
  asm volatile("");
  return depth;
}

// Apart, so that the call below stays one.
[[gnu::noinline]] void note_when(bool yes) {
  if (yes) note_lasting_objects();
}

TEST_CASE("objects that cannot go are read without a second look, and the same") {
  uintptr_t stacks[4][kMaxStack] = {};
  unsigned depths[4];
#pragma GCC unroll 1
  for (unsigned i = 0; i < 4; ++i) {
    note_when(i == 2);
    depths[i] = capture_here(stacks[i]);
  }
  REQUIRE(depths[0] >= 3);
  const auto function = reinterpret_cast<uintptr_t>(&capture_here);
  CHECK(std::any_of(stacks[0], stacks[0] + depths[0], [&](uintptr_t pc) { return pc - function < 256; }));
  for (unsigned i = 1; i < 4; ++i) {
    REQUIRE(depths[i] == depths[0]);
    CAPTURE(i);
    CHECK(std::equal(stacks[i], stacks[i] + depths[0], stacks[0]));
  }
}

}  // namespace
