#include "preload/launcher/flame.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace pm {
namespace {

using Json = nlohmann::ordered_json;
using Bytes = std::array<double, kWeights>;

constexpr double kLeastShare = 1.0 / 2000;
constexpr size_t kFunctions = 30;
constexpr size_t kMostDepth = 256;  // of calls; what lies deeper counts for the last one

struct Node {
  Bytes bytes = {};
  std::map<std::string, size_t> callees;  // by name, indices into the tree
};

Bytes bytes_of(const Amounts& amounts) {
  Bytes bytes;
  for (size_t i = 0; i < kWeights; ++i) bytes[i] = amounts.of[i].bytes.value;
  return bytes;
}

void add(Bytes& to, const Bytes& more) {
  for (size_t i = 0; i < kWeights; ++i) to[i] += more[i];
}

Json json_of(const Bytes& bytes) {
  Json json = Json::array();
  for (const double value : bytes) json.push_back(std::llround(value));
  return json;
}

class Tree {
 public:
  explicit Tree(const std::vector<NamedStack>& stacks) : nodes_(1) {
    for (const NamedStack& stack : stacks) {
      const Bytes bytes = bytes_of(stack.amounts);
      size_t at = 0;
      add(nodes_[at].bytes, bytes);
      for (size_t i = 0; i < std::min(stack.functions.size(), kMostDepth); ++i) {
        at = callee_of(at, stack.functions[i]);
        add(nodes_[at].bytes, bytes);
      }
    }
  }

  Json write() { return json_of_node("all", 0); }
  const Json& names() const { return names_; }

 private:
  size_t callee_of(size_t caller, const std::string& name) {
    const auto [place, is_new] = nodes_[caller].callees.try_emplace(name, nodes_.size());
    const size_t callee = place->second;
    if (is_new) nodes_.emplace_back();
    return callee;
  }

  size_t number_of(const std::string& name) {
    const auto [place, is_new] = numbers_.try_emplace(name, names_.size());
    if (is_new) names_.push_back(name);
    return place->second;
  }

  bool is_worth_showing(const Node& node) const {
    for (size_t i = 0; i < kWeights; ++i) {
      if (node.bytes[i] > 0 && node.bytes[i] >= nodes_[0].bytes[i] * kLeastShare) return true;
    }
    return false;
  }

  Json json_of_node(const std::string& name, size_t index) {
    Json callees = Json::array();
    Json json = {number_of(name), json_of(nodes_[index].bytes)};
    for (const auto& [callee, at] : nodes_[index].callees) {
      if (is_worth_showing(nodes_[at])) callees.push_back(json_of_node(callee, at));
    }
    json.push_back(std::move(callees));
    return json;
  }

  std::vector<Node> nodes_;
  Json names_ = Json::array();
  std::unordered_map<std::string, size_t> numbers_;
};

Json functions_of_most(const StackProfile& profile) {
  std::vector<FunctionTotal> functions = by_function(profile);
  const auto in_use = [](const Amounts& amounts) { return amounts[Weight::inuse].bytes.value; };
  std::stable_sort(functions.begin(), functions.end(), [&](const FunctionTotal& a, const FunctionTotal& b) {
    if (in_use(a.flat) != in_use(b.flat)) return in_use(a.flat) > in_use(b.flat);
    return in_use(a.cumulative) > in_use(b.cumulative);
  });
  if (functions.size() > kFunctions) functions.resize(kFunctions);
  Json rows = Json::array();
  for (const FunctionTotal& function : functions) {
    rows.push_back({{"name", function.name},
                    {"flat", json_of(bytes_of(function.flat))},
                    {"cumulative", json_of(bytes_of(function.cumulative))}});
  }
  return rows;
}

}  // namespace

Json flame_json(const StackProfile& profile) {
  Tree tree(by_names(profile));
  Json root = tree.write();
  Json weights = Json::array();
  for (const char* name : kWeightNames) weights.push_back(name);
  return {{"weights", weights},
          {"names", tree.names()},
          {"tree", std::move(root)},
          {"functions", functions_of_most(profile)},
          {"executable", profile.executable},
          {"taken_ms", profile.taken_ms},
          {"period", profile.period},
          {"dropped", profile.dropped}};
}

}  // namespace pm
