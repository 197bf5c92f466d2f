// Aligned memory through all doors: aligned_alloc, posix_memalign and operator new with an alignment, mostly of a cache
// line or a vector, sometimes of a page, beside ordinary objects.
//
// Operation: one free with the allocation that takes its place.
#include <new>
#include <vector>

#include "harness.h"

namespace {

struct Object {
  void* memory = nullptr;
  size_t new_alignment = 0;  // 0: from malloc's family
};

void drop(const Object& object) {
  bench::keep(object.memory);
  if (object.new_alignment != 0) {
    ::operator delete (object.memory, std::align_val_t{object.new_alignment});
  } else {
    std::free(object.memory);
  }
}

Object draw(bench::Random& random) {
  const size_t alignment = random.one_in(100) ? 4096 : size_t{32} << random.below(4);
  const size_t size = random.log_between(16, 1024);
  Object object;
  switch (random.below(4)) {
    case 0: object.memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment); break;
    case 1: bench::check(posix_memalign(&object.memory, alignment, size) == 0, "posix_memalign"); break;
    case 2:
      object.memory = ::operator new (size, std::align_val_t{alignment});
      object.new_alignment = alignment;
      break;
    default: object.memory = bench::take(size); return object;
  }
  bench::check(object.memory != nullptr && reinterpret_cast<uintptr_t>(object.memory) % alignment == 0, "aligning");
  return object;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("aligned", argc, argv);
  const size_t objects = workload.count("objects", workload.smoke() ? 500 : 5'000);
  const size_t replacements = workload.scaled(15'000'000, 60'000);

  bench::Random random(workload.seed());
  std::vector<Object> table(objects);
  workload.start();
  for (size_t i = 0; i < replacements; ++i) {
    Object& object = table[random.below(objects)];
    drop(object);
    object = draw(random);
    *static_cast<volatile char*>(object.memory) = 1;
  }
  workload.stop();
  for (const Object& object : table) drop(object);
  return workload.report(replacements);
}
