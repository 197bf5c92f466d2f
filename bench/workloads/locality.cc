// Lists built in a used heap, then walked: objects of one list that lie close to each other make the walk fast. Before
// and between the builds the heap is stirred with other sizes, and half of all nodes are replaced.
//
// Operation: one node visited.
#include <vector>

#include "harness.h"

namespace {

struct Node {
  Node* next;
  uint64_t payload[3];
};

Node* push(Node* head, uint64_t value) {
  Node* node = static_cast<Node*>(bench::take(sizeof(Node)));
  *node = {head, {value, value, value}};
  return node;
}

void stir(bench::Random& random, std::vector<void*>& other, size_t times) {
  for (size_t i = 0; i < times; ++i) {
    void*& object = other[random.below(other.size())];
    bench::give(object);
    object = bench::take_and_write(random.log_between(16, 256), i);
  }
}

// Replaces every second node, so that the list runs through old and new memory.
void renew(Node* head) {
  for (Node* node = head; node != nullptr && node->next != nullptr; node = node->next) {
    Node* old = node->next;
    node->next = push(old->next, old->payload[0]);
    bench::give(old);
    node = node->next;
    if (node->next == nullptr) break;
  }
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("locality", argc, argv);
  const size_t nodes = workload.count("nodes", workload.smoke() ? 2'000 : 200'000);
  const size_t walks = workload.count("walks", 10);
  const size_t rounds = workload.scaled(8, 2);

  constexpr size_t kLists = 8;
  bench::Random random(workload.seed());
  std::vector<void*> other(nodes);
  stir(random, other, nodes * 2);
  size_t visited = 0;
  uint64_t sum = 0;
  workload.start();
  for (size_t round = 0; round < rounds; ++round) {
    Node* lists[kLists] = {};
    for (size_t i = 0; i < nodes; ++i) {
      Node*& list = lists[random.below(kLists)];
      list = push(list, i);
      if (i % 4 == 0) stir(random, other, 1);
    }
    for (Node* list : lists) renew(list);
    for (size_t walk = 0; walk < walks; ++walk) {
      for (const Node* list : lists) {
        for (const Node* node = list; node != nullptr; node = node->next) {
          sum += node->payload[2];
          ++visited;
        }
      }
    }
    for (Node* list : lists) {
      while (list != nullptr) {
        Node* next = list->next;
        bench::give(list);
        list = next;
      }
    }
  }
  workload.stop();
  workload.field("checksum", static_cast<double>(sum % 1'000'000'007));
  for (void* object : other) bench::give(object);
  return workload.report(visited);
}
