#include "profile/rule_cache.h"

#include <atomic>
#include <cstring>

#include "base/bits.h"

namespace pm {
namespace {

// Relaxed throughout: what does not fit together is not used.
struct Entry {
  std::atomic<uint64_t> key;
  std::atomic<uint64_t> record;
  std::atomic<uint64_t> content;
  std::atomic<uint64_t> rules;
};
constexpr size_t kEntries = 4096;
Entry entries[kEntries];  // untouched, hence without pages, in processes that are never profiled

Entry& entry_of(uintptr_t pc) { return entries[(pc * 0x9e3779b97f4a7c15U) >> 52]; }
static_assert(kEntries == size_t{1} << (64 - 52));

// From the lowest bit: two flags, three numbers of 20 bits with a sign, and a flag more.
constexpr uint64_t kEnds = uint64_t{1} << 63;
constexpr unsigned kNumberBits = 20;
constexpr int64_t kLimit = int64_t{1} << (kNumberBits - 1);

bool fits(int64_t number) { return number >= -kLimit && number < kLimit; }
uint64_t field(int64_t number, unsigned shift) {
  return (static_cast<uint64_t>(number) & low_bits(kNumberBits)) << shift;
}
int32_t number_at(uint64_t packed, unsigned shift) {
  const auto aligned = static_cast<int64_t>(packed << (64 - kNumberBits - shift));
  return static_cast<int32_t>(aligned >> (64 - kNumberBits));
}

// A fingerprint of a record: its length and its first bytes, which say of which function it is and how that begins.
constexpr size_t kLooked = 40;
uint64_t content_of(uintptr_t record) {
  uint64_t words[kLooked / 8];
  memcpy(words, reinterpret_cast<const void*>(record), sizeof words);
  const auto length = static_cast<uint32_t>(words[0]) + 4U;
  // Of a short one, no more than it has.
  const size_t whole = length < kLooked ? length / 8 : kLooked / 8;
  uint64_t hash = length;
  for (size_t i = 0; i < whole; ++i) hash = (hash ^ words[i]) * 0xff51afd7ed558ccdU;
  return hash;
}

}  // namespace

bool find_cached(const os::ObjectRange& object, bool lasting, uintptr_t pc, PlainRules& out) {
  const Entry& entry = entry_of(pc);
  const uint64_t record = entry.record.load(std::memory_order_relaxed);
  const uint64_t content = entry.content.load(std::memory_order_relaxed);
  const uint64_t packed = entry.rules.load(std::memory_order_relaxed);
  if ((entry.key.load(std::memory_order_relaxed) ^ record ^ content ^ packed) != pc) return false;
  // Tables of frames stand in their object, behind the header that finds them or before it.
  const bool inside = record >= object.start && record + kLooked <= object.end;
  if (!lasting && (!inside || content_of(record) != content)) return false;
  out.ends = (packed & kEnds) != 0;
  out.by_frame_register = (packed & 1U) != 0;
  out.frame_saved = (packed & 2U) != 0;
  out.base_offset = number_at(packed, 2);
  out.frame_offset = number_at(packed, 2 + kNumberBits);
  out.return_offset = number_at(packed, 2 + 2 * kNumberBits);
  return true;
}

void cache_rules(uintptr_t pc, const FrameRules& rules) {
  using Kind = FrameRule::Kind;
  const bool by_frame = rules.base_register == os::kFrameRegister;
  const Kind frame = rules.frame_register.kind;
  const bool ends = rules.return_address.kind == Kind::undefined;
  const bool plain = !rules.by_expression && !rules.signal_frame &&
                     (by_frame || rules.base_register == os::kStackRegister) &&
                     rules.return_address.kind == Kind::memory && (frame == Kind::same || frame == Kind::memory);
  const int64_t offsets[] = {rules.base_offset, rules.frame_register.offset, rules.return_address.offset};
  if ((!ends && !plain) || !fits(offsets[0]) || !fits(offsets[1]) || !fits(offsets[2])) return;
  const uint64_t packed = (ends ? kEnds : 0) | (by_frame ? 1U : 0U) | (frame == Kind::memory ? 2U : 0U) |
                          field(offsets[0], 2) | field(offsets[1], 2 + kNumberBits) |
                          field(offsets[2], 2 + 2 * kNumberBits);
  const uintptr_t record = address_of(rules.record);
  const uint64_t content = content_of(record);
  Entry& entry = entry_of(pc);
  entry.key.store(pc ^ record ^ content ^ packed, std::memory_order_relaxed);
  entry.record.store(record, std::memory_order_relaxed);
  entry.content.store(content, std::memory_order_relaxed);
  entry.rules.store(packed, std::memory_order_relaxed);
}

}  // namespace pm
