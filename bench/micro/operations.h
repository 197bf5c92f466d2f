// The single functions that bench-micro measures, by name.
//
// Each runs in a process that has the whole heap up, in one thread. prepare() brings the layer into the state that the
// name says; run(n) does the operation n times and leaves the state as it found it, so that it can go on for ever. What
// is reported is a turn's cost divided by `parts`.
#pragma once

#include <cstdint>
#include <vector>

namespace bench {

enum class Needs : uint8_t { nothing, rseq, locked };

struct Operation {
  const char* name;
  Needs needs;  // the magazine mode it works in
  void (*prepare)();
  void (*run)(uint64_t times);
  uint32_t parts = 1;
};

const std::vector<Operation>& operations();

}  // namespace bench
