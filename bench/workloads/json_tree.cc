// A document as a JSON reader builds it: objects, lists, texts and numbers in one tree, made from the top, walked once,
// and dropped; a few older documents stay alive meanwhile.
//
// Operation: one node, from its making to its end.
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "harness.h"

namespace {

struct Node;
using List = std::vector<Node>;
using Members = std::vector<std::pair<std::string, std::unique_ptr<Node>>>;

struct Node {
  std::variant<double, std::string, List, Members> value;
};

Node build(bench::Random& random, size_t depth, size_t& nodes) {
  ++nodes;
  const size_t kind = depth == 0 ? random.below(2) : 2 + random.below(2);
  if (kind == 0) return {static_cast<double>(random.below(1000))};
  if (kind == 1) return {std::string(random.log_between(4, 64), 't')};
  const size_t children = random.between(2, 10);
  if (kind == 2) {
    List list;
    for (size_t i = 0; i < children; ++i) list.push_back(build(random, depth - 1, nodes));
    return {std::move(list)};
  }
  Members members;
  for (size_t i = 0; i < children; ++i) {
    members.emplace_back("member " + std::to_string(random.below(1'000'000'000)),
                         std::make_unique<Node>(build(random, depth - 1, nodes)));
  }
  return {std::move(members)};
}

size_t walk(const Node& node) {
  size_t sum = 1;
  if (const auto* text = std::get_if<std::string>(&node.value)) sum += text->size();
  if (const auto* list = std::get_if<List>(&node.value)) {
    for (const Node& child : *list) sum += walk(child);
  }
  if (const auto* members = std::get_if<Members>(&node.value)) {
    for (const auto& [name, child] : *members) sum += name.size() + walk(*child);
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("json_tree", argc, argv);
  const size_t depth = workload.count("depth", workload.smoke() ? 3 : 5);
  const size_t kept = workload.count("kept", 8);
  const size_t documents = workload.scaled(1'000, 30);

  bench::Random random(workload.seed());
  std::vector<Node> alive(kept);
  size_t nodes = 0;
  size_t checksum = 0;
  workload.start();
  for (size_t i = 0; i < documents; ++i) {
    Node& node = alive[random.below(kept)];
    node = build(random, depth, nodes);
    checksum += walk(node);
  }
  alive.clear();
  workload.stop();
  workload.field("checksum", static_cast<double>(checksum));
  return workload.report(nodes);
}
