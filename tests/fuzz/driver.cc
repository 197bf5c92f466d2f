// Runs a libFuzzer target without libFuzzer: over the files named, or over pseudo-random inputs, the same in every run
// ("<target> -runs=<n> -seed=<n>", as for libFuzzer, whose other options mean nothing here).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "tests/model/model.h"

extern "C" int LLVMFuzzerInitialize(int* count, char*** words);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMostBytes = 4096;

// Long and short inputs; of bytes of all kinds or of few, so that some repeat one call over and over.
std::vector<uint8_t> random_input(model::Random& random) {
  std::vector<uint8_t> input(random.below(random.one_in(16) ? kMostBytes : 256));
  uint8_t few[4];
  for (uint8_t& value : few) value = static_cast<uint8_t>(random.next());
  const uint64_t share = random.below(4);
  for (uint8_t& value : input) {
    value = random.below(4) < share ? few[random.below(4)] : static_cast<uint8_t>(random.next());
  }
  return input;
}

bool run_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    fprintf(stderr, "cannot read %s\n", path);
    return false;
  }
  const std::vector<uint8_t> input{std::istreambuf_iterator<char>(file), {}};
  LLVMFuzzerTestOneInput(input.data(), input.size());
  return true;
}

}  // namespace

int main(int count, char** words) {
  uint64_t runs = 20000;
  uint64_t seed = 1;
  bool files = false;
  LLVMFuzzerInitialize(&count, &words);
  for (int i = 1; i < count; ++i) {
    if (strncmp(words[i], "-runs=", 6) == 0) {
      runs = strtoull(words[i] + 6, nullptr, 0);
    } else if (strncmp(words[i], "-seed=", 6) == 0) {
      seed = strtoull(words[i] + 6, nullptr, 0);
    } else if (words[i][0] != '-') {
      files = true;
      if (!run_file(words[i])) return 1;
    }
  }
  if (files) return 0;
  printf("%llu runs with seed %llu\n", static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
  model::Random random(seed);
  for (uint64_t i = 0; i < runs; ++i) {
    const std::vector<uint8_t> input = random_input(random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
}
