// The standard containers at work: an ordered and an unordered map with string values, a deque as a queue, strings that
// are made and dropped, and a vector that grows from nothing.
//
// Operation: one step, which does something to each of them.
#include <deque>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "harness.h"

int main(int argc, char** argv) {
  bench::Workload workload("containers", argc, argv);
  const size_t keys = workload.count("keys", workload.smoke() ? 2'000 : 100'000);
  const size_t steps = workload.scaled(1'500'000, 20'000);

  bench::Random random(workload.seed());
  std::map<size_t, std::string> ordered;
  std::unordered_map<std::string, size_t> unordered;
  std::deque<std::string> queue;
  size_t checksum = 0;
  workload.start();
  for (size_t i = 0; i < steps; ++i) {
    const size_t key = random.below(keys);
    if (const auto found = ordered.find(key); found == ordered.end()) {
      ordered.emplace(key, std::string(random.log_between(8, 128), 'v'));
    } else {
      checksum += found->second.size();
      ordered.erase(found);
    }

    std::string name = "a key longer than a small string: " + std::to_string(random.below(keys));
    if (const auto [at, fresh] = unordered.try_emplace(name, i); !fresh) unordered.erase(at);

    queue.push_back(std::move(name));
    if (queue.size() > keys / 10) queue.pop_front();

    std::vector<size_t> growing;
    for (size_t n = random.below(16); n > 0; --n) growing.push_back(n);
    bench::keep(growing.data());
    checksum += growing.size();
  }
  workload.stop();
  workload.field("checksum", static_cast<double>(checksum));
  return workload.report(steps);
}
