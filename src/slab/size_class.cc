#include "slab/size_class.h"

namespace pm {
namespace {

constexpr unsigned kStepsPerDoubling = 8;
constexpr size_t kFineLimit = 128;  // 16-byte steps up to here

// A slab has at least this many slots where kMaxSlabGranules allow, and wastes at most 1/16 of itself behind the last.
constexpr uint32_t kMinSlots = 8;

constexpr uint32_t slab_granules_for(uint32_t size) {
  for (uint32_t granules = 1; granules < kMaxSlabGranules; granules *= 2) {
    const auto bytes = static_cast<uint32_t>(granules * kGranuleBytes);
    if (bytes / size >= kMinSlots && bytes % size <= bytes / 16) return granules;
  }
  return kMaxSlabGranules;
}

// About 8 KiB a batch, and more of middling sizes: enough that the locked instructions of a refill are shared by
// several objects, little enough that a large class does not hoard.
constexpr uint32_t batch_for(uint32_t size) {
  const uint32_t n = static_cast<uint32_t>(8 * kKiB) / size;
  const uint32_t least = size <= 16 * kKiB ? 4 : size <= 64 * kKiB ? 2 : 1;
  return n < least ? least : n > 64 ? 64 : n;
}

// What a thread frees before it allocates again should stay with its CPU: on the way through depot and slabs, objects
// of several CPUs mix, and their cache lines with them. Most magazines stay far below (magazine.cc, grow_if_it_pays).
constexpr uint32_t magazine_max_for(uint32_t size) {
  const uint32_t n = static_cast<uint32_t>(512 * kKiB) / size;
  return n < 2 ? 2 : n > 8192 ? 8192 : n;
}

constexpr SizeClass describe(uint32_t size) {
  const uint32_t granules = slab_granules_for(size);
  const auto units = size / static_cast<uint32_t>(kSizeStep);
  return {.size = size,
          .slab_granules = granules,
          .slots = static_cast<uint32_t>(granules * kGranuleBytes / size),
          .slot_magic = ((uint64_t{1} << 32) + units - 1) / units,
          .batch = batch_for(size),
          .magazine_max = magazine_max_for(size)};
}

constexpr uint32_t default_size(unsigned index) {
  constexpr unsigned kFine = kFineLimit / kSizeStep;
  if (index <= kFine) return static_cast<uint32_t>(index * kSizeStep);
  const unsigned coarse = index - kFine - 1;
  const size_t base = kFineLimit << (coarse / kStepsPerDoubling);
  return static_cast<uint32_t>(base + base / kStepsPerDoubling * (coarse % kStepsPerDoubling + 1));
}

// Fills the lookups of `table` from its classes, which are sorted by size.
constexpr void index_classes(ClassTable& table) {
  unsigned id = 1;
  for (unsigned step = 0; step <= kMaxClassSize / kSizeStep; ++step) {
    while (table.classes[id].size < step * kSizeStep) ++id;
    table.by_size[step] = static_cast<uint8_t>(id);
  }
  for (unsigned i = 1; i < table.count; ++i) {
    const SizeClass& c = table.classes[i];
    const auto divisor = static_cast<uint32_t>(((uint64_t{1} << 32) + c.size - 1) / c.size);
    table.divisor[i] = c.slab_granules == 1 ? divisor : 0;
  }
}

constexpr ClassTable make_default() {
  ClassTable table{};
  unsigned n = 1;
  while (n < kMaxClasses && default_size(n) <= kMaxClassSize) {
    table.classes[n] = describe(default_size(n));
    ++n;
  }
  table.count = n;
  index_classes(table);
  return table;
}

constexpr bool slack_is_bounded(const ClassTable& table) {
  for (unsigned i = 2; i < table.count; ++i) {
    const uint32_t smallest_request = table.classes[i - 1].size + 1;
    const uint32_t size = table.classes[i].size;
    if (size > kFineLimit && (size - smallest_request) * 8 > size) return false;
  }
  return table.classes[table.count - 1].size == kMaxClassSize;
}

static_assert(slack_is_bounded(make_default()), "more than 12.5 % slack above 128 bytes");
static_assert(make_default().count <= kMaxClasses - 32, "room for the user's classes");
static_assert(make_default().by_size[0] == 1 && make_default().by_size[1] == 1);

}  // namespace

constinit const ClassTable kDefaultClasses = make_default();
const ClassTable* class_table = &kDefaultClasses;

PM_RARE void add_size_classes(const uint32_t* sizes, size_t count, ClassTable& storage) {
  storage = kDefaultClasses;
  for (size_t i = 0; i < count; ++i) {
    const auto size = static_cast<uint32_t>(align_up(sizes[i], kSizeStep));
    if (size < kSizeStep || size > kMaxClassSize || storage.count == kMaxClasses) continue;
    unsigned at = 1;
    while (storage.classes[at].size < size) ++at;
    if (storage.classes[at].size == size) continue;
    for (unsigned j = storage.count; j > at; --j) storage.classes[j] = storage.classes[j - 1];
    storage.classes[at] = describe(size);
    ++storage.count;
  }
  index_classes(storage);
  class_table = &storage;
}

uint32_t slab_room(uint32_t size) {
  const SizeClass c = describe(size);
  const auto bytes = static_cast<uint32_t>(c.slab_granules * kGranuleBytes);
  return (bytes + c.slots - 1) / c.slots;
}

ClassId aligned_class_of(size_t size, size_t alignment) {
  if (size > kMaxClassSize) return kNoClass;
  for (unsigned id = class_of(size); id < class_table->count; ++id) {
    if (is_aligned(class_table->classes[id].size, alignment)) return static_cast<ClassId>(id);
  }
  return kNoClass;
}

}  // namespace pm
