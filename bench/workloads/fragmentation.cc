// A heap that grows and shrinks in phases. At the end of each phase most objects are freed, in random order, and a few
// survive for several phases, scattered over the memory of all that is gone; the next phase wants other sizes. Reports
// what stays resident for the survivors alone, and the live bytes to hold it against.
//
// Operation: one malloc with its free.
#include <utility>
#include <vector>

#include "harness.h"

namespace {

struct Object {
  void* memory;
  size_t size;
};

Object draw(bench::Random& random, size_t low, size_t high) {
  const size_t size = random.between(low, high);
  // Every page of the object is written: this one is about memory.
  void* memory = bench::take(size);
  std::memset(memory, 1, size);
  bench::keep(memory);
  return {memory, size};
}

void shuffle(bench::Random& random, std::vector<Object>& objects) {
  for (size_t i = objects.size(); i > 1; --i) std::swap(objects[i - 1], objects[random.below(i)]);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("fragmentation", argc, argv);
  const size_t peak = workload.count("mib", workload.smoke() ? 4 : 128) << 20;
  const size_t survivors = workload.count("survivors_percent", 5);
  const size_t phases = workload.scaled(14, 3);

  bench::Random random(workload.seed());
  std::vector<Object> objects;
  size_t live = 0;
  size_t operations = 0;
  workload.start();
  for (size_t phase = 0; phase < phases; ++phase) {
    const size_t low = random.log_between(16, 512);
    const size_t high = low * random.between(2, 16);
    while (live < peak) {
      objects.push_back(draw(random, low, high));
      live += objects.back().size;
      ++operations;
    }
    shuffle(random, objects);
    const size_t left = objects.size() * survivors / 100;
    while (objects.size() > left) {
      live -= objects.back().size;
      bench::give(objects.back().memory);
      objects.pop_back();
    }
  }
  workload.stop();
  workload.field("live_kib", static_cast<double>(live) / 1024);
  workload.field("rss_kib", bench::resident_kib());
  for (const Object& object : objects) bench::give(object.memory);
  return workload.report(operations);
}
