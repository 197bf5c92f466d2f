// Bytes read as a list of calls on the heap, checked against the reference of the model tests. The heap lives on from
// input to input, as in a long-running process; every input gives back what it took.
#include "tests/model/heap_oracle.h"

namespace {

constexpr size_t kMostObjects = 512;
constexpr size_t kMostBytes = 64 * pm::kMiB;
constexpr unsigned kInputsPerReconcile = 500;

class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  bool empty() const { return at_ == end_; }
  // Zero past the end, so that every prefix of an input is one too.
  uint8_t byte() { return empty() ? uint8_t{0} : *at_++; }
  size_t two_bytes() {
    const size_t high = byte();
    return high << 8 | byte();
  }

  // A byte, two bytes, the edge of a class, or a large object of up to 1 MiB.
  size_t size() {
    const size_t kind = byte();
    switch (kind % 4) {
      case 0: return byte();
      case 1: return two_bytes();
      case 2: {
        const auto id = static_cast<pm::ClassId>(1 + byte() % (pm::class_table->count - 1));
        return pm::size_class(id).size - 1 + kind / 4 % 3;
      }
      default: return two_bytes() << (kind / 4 % 5);
    }
  }

 private:
  const uint8_t* at_;
  const uint8_t* const end_;
};

void run(model::HeapOracle& heap, Input& input) {
  while (!input.empty()) {
    const uint8_t action = input.byte();
    const bool room = heap.objects() < kMostObjects && heap.bytes() < kMostBytes;
    if (action % 8 < 3) {
      const size_t size = input.size();
      if (room && action % 8 == 0) heap.allocate_zeroed(size);
      if (room && action % 8 != 0) heap.allocate(size);
      continue;
    }
    if (action % 8 == 3) {
      const size_t alignment = size_t{1} << (action / 8 % 22);
      const size_t size = input.size();
      if (room) heap.allocate_aligned(alignment, size);
      continue;
    }
    if (heap.objects() == 0) continue;
    const size_t which = input.byte() % heap.objects();
    switch (action % 8) {
      case 4: heap.deallocate(which); break;
      case 5: heap.deallocate_sized(which); break;
      case 6: heap.reallocate(which, input.size()); break;
      default:
        if (action == 255) {
          pm::trim_heap(SIZE_MAX);
        } else {
          heap.verify(which);
        }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  HOLDS(model::start_heap());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static unsigned inputs = 0;
  model::HeapOracle heap;
  Input input(data, size);
  run(heap, input);
  heap.verify_all();
  model::HeapOracle::audit();
  if (++inputs % kInputsPerReconcile == 0) heap.reconcile();
  heap.clear();
  model::HeapOracle::audit();
  return 0;
}
