// What the model tests share: a check that is on in every build, random numbers that a seed repeats, and the arguments.
#ifndef POOLMALLOC_TESTS_MODEL_MODEL_H_
#define POOLMALLOC_TESTS_MODEL_MODEL_H_

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace model {

// abort, so that a debugger, a parent process and libFuzzer all see it.
[[noreturn]] inline void failed(const char* file, int line, const char* condition) {
  dprintf(STDERR_FILENO, "%s:%d: does not hold: %s\n", file, line, condition);
  abort();
}

// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t n) { return next() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  // Spread evenly over the powers of two up to 2^bits, as sizes are.
  uint64_t of_bits(unsigned bits) { return next() >> (64 - 1 - below(bits)); }

 private:
  uint64_t state_;
};

struct Arguments {
  uint64_t steps;
  uint64_t seed;
};

// "<steps> <seed>", both optional; the seed "random" takes another one every time. Prints what is needed to repeat the
// run.
inline Arguments arguments(int count, char** words, uint64_t steps) {
  Arguments out = {steps, 20240229};
  if (count > 1) out.steps = strtoull(words[1], nullptr, 0);
  if (count > 2) {
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    out.seed = strcmp(words[2], "random") == 0 ? static_cast<uint64_t>(now) : strtoull(words[2], nullptr, 0);
  }
  dprintf(STDERR_FILENO, "repeat with: %s %llu %llu\n", words[0], static_cast<unsigned long long>(out.steps),
          static_cast<unsigned long long>(out.seed));
  return out;
}

}  // namespace model

#define HOLDS(condition) ((condition) ? static_cast<void>(0) : ::model::failed(__FILE__, __LINE__, #condition))

#endif  // POOLMALLOC_TESTS_MODEL_MODEL_H_
