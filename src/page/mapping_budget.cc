#include "page/mapping_budget.h"

#include "os/memory.h"
#include "os/process.h"

namespace pm {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr int64_t kLeastStep = 16;
constexpr uint64_t kPauseShare = 200;  // near the limit, counting may take a two-hundredth of the time

}  // namespace

MappingBudget mapping_budget;

uint64_t MappingBudget::known() const {
  const auto sum =
      static_cast<int64_t>(counted_.load(std::memory_order_relaxed)) + since_.load(std::memory_order_relaxed);
  return sum < 0 ? 0 : static_cast<uint64_t>(sum);
}

// Splits by other threads during the count are in it, or not, and are dropped: the margin of 30 % is wide.
void MappingBudget::count(uint64_t now) {
  limit_.store(os::memory().max_map_count() / 10 * 7, std::memory_order_relaxed);
  const uint64_t mappings = os::memory().count_mappings();
  since_.store(0, std::memory_order_relaxed);
  counted_.store(mappings == 0 ? 1 : mappings, std::memory_order_relaxed);
  const uint64_t pause = (os::monotonic_ns() - now) * kPauseShare;
  next_count_.store(now + (pause > kSecond ? pause : kSecond), std::memory_order_relaxed);
}

bool MappingBudget::take(uint32_t mappings) {
  const uint64_t refused_until = refused_until_.load(std::memory_order_relaxed);
  const uint64_t counted = counted_.load(std::memory_order_relaxed);
  const int64_t since = since_.load(std::memory_order_relaxed) + mappings;
  const auto room = static_cast<int64_t>(limit_.load(std::memory_order_relaxed)) - static_cast<int64_t>(counted);
  const bool is_full = since > room;
  if (counted == 0 || refused_until != 0 || is_full || since > room / 8 + kLeastStep) {
    const uint64_t now = os::monotonic_ns();
    if (now < refused_until) {
      refusals_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    refused_until_.store(0, std::memory_order_relaxed);
    const bool is_near = counted + static_cast<uint64_t>(since) > limit_.load(std::memory_order_relaxed) / 2;
    if (counted == 0 || !is_near || now >= next_count_.load(std::memory_order_relaxed)) count(now);
  }
  if (known() + mappings > limit_.load(std::memory_order_relaxed)) {
    refusals_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  since_.fetch_add(mappings, std::memory_order_relaxed);
  return true;
}

void MappingBudget::give_back(uint32_t mappings) { since_.fetch_sub(mappings, std::memory_order_relaxed); }

void MappingBudget::note_refusal(uint32_t mappings) {
  give_back(mappings);
  refusals_.fetch_add(1, std::memory_order_relaxed);
  refused_until_.store(os::monotonic_ns() + kSecond, std::memory_order_relaxed);
  next_count_.store(0, std::memory_order_relaxed);
}

uint64_t MappingBudget::estimate() {
  if (counted_.load(std::memory_order_relaxed) == 0) count(os::monotonic_ns());
  return known();
}

}  // namespace pm
