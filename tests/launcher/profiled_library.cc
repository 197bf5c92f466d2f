// The library that profiled.cc loads: a function that it exports, one that it does not, and one that is inlined.
#include "profiled.h"

namespace {

__attribute__((always_inline)) inline int inlined(int (*record)(const Counts&)) {
  return record({2048, 10, 10, 10, 0, {0, 0, 0, 0, 0, 0, 0, 10}}) + 1;
}

__attribute__((noinline)) int hidden(int (*record)(const Counts&)) { return inlined(record) + 1; }

}  // namespace

extern "C" int enter_library(int (*record)(const Counts&)) { return hidden(record) + 1; }
