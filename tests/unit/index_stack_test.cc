#include "base/index_stack.h"

#include <thread>
#include <vector>

#include "tests/catch.h"

namespace {

using namespace pm;

constexpr uint32_t kRecords = 256;

struct Records {
  std::atomic<uint32_t> next[kRecords] = {};
  std::atomic<uint32_t>& operator()(uint32_t index) const { return const_cast<Records*>(this)->next[index]; }
};

TEST_CASE("last in, first out; index 0 is an index like any other") {
  Records records;
  IndexStack<> stack;
  CHECK(stack.empty());
  CHECK(stack.pop(records) == kNoIndex);
  for (uint32_t i = 0; i < 3; ++i) stack.push(i, records);
  CHECK_FALSE(stack.empty());
  CHECK(stack.peek() == 2);
  CHECK(stack.pop(records) == 2);
  CHECK(stack.pop(records) == 1);
  CHECK(stack.pop(records) == 0);
  CHECK(stack.pop(records) == kNoIndex);
}

TEST_CASE("chains go in and come out in one piece") {
  Records records;
  IndexStack<> stack;
  stack.push(9, records);
  records(5).store(6);
  records(6).store(7);
  stack.push_chain(5, 7, records);
  CHECK(stack.take_all() == 5);
  CHECK(stack.empty());
  CHECK(stack.take_all() == kNoIndex);
  CHECK(records(7).load() == 9);
  CHECK(records(9).load() == kNoIndex);
}

TEST_CASE("every record has one owner, whoever pops") {
  Records records;
  IndexStack<> stack;
  for (uint32_t i = 0; i < kRecords; ++i) stack.push(i, records);
  std::atomic<int> owners[kRecords] = {};
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t turn = 0; turn < 20000; ++turn) {
        if (t == 0 && turn % 64 == 0) {
          // One of the threads takes everything and gives it back as a chain.
          const uint32_t first = stack.take_all();
          if (first == kNoIndex) continue;
          uint32_t last = first;
          for (uint32_t at = first; at != kNoIndex; at = records(at).load()) {
            last = at;
            failures += owners[at].fetch_add(1) != 0;
          }
          for (uint32_t at = first;; at = records(at).load()) {
            owners[at].fetch_sub(1);
            if (at == last) break;
          }
          stack.push_chain(first, last, records);
          continue;
        }
        const uint32_t index = stack.pop(records);
        if (index == kNoIndex) continue;
        failures += owners[index].fetch_add(1) != 0;
        owners[index].fetch_sub(1);
        stack.push(index, records);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  uint32_t left = 0;
  while (stack.pop(records) != kNoIndex) ++left;
  CHECK(left == kRecords);
}

}  // namespace
