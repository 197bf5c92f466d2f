// The numbers of the shards: a few for each node, and one for signal handlers. A huge block carries its shard's number
// plus one in a byte.
//
// The first node's shards and the handlers' have the numbers 0 to 4, which are all there is on most machines; those of
// the other nodes follow.
#pragma once

#include <cstdint>

#include "os/numa.h"
#include "page/granule.h"

namespace pm {

inline constexpr unsigned kMaxNodes = os::kMaxNodes;
// Shards that threads of a node share, and one more for signal handlers that interrupted a thread inside a shard's
// lock.
inline constexpr unsigned kShards = 4;
inline constexpr unsigned kHandlerShard = kShards;
inline constexpr unsigned kMaxShards = kShards * kMaxNodes + 1;

constexpr unsigned shard_id(unsigned node, unsigned home) { return node * kShards + home + (node != 0 ? 1 : 0); }
// The handlers' shard has the first node's memory; owners that are no shards (file heaps) count as the first node's
// too.
constexpr unsigned node_of_shard(unsigned id) {
  return id <= kHandlerShard || id >= kMaxShards ? 0 : (id - 1) / kShards;
}
// Shards in use on `nodes` nodes: those below this number.
constexpr unsigned shards_of(unsigned nodes) { return nodes * kShards + 1; }

static_assert(shard_id(0, 3) == 3 && shard_id(1, 0) == 5 && shard_id(kMaxNodes - 1, 3) == kMaxShards - 1);
static_assert(kMaxShards <= kFirstFileOwner && node_of_shard(kFirstFileOwner) == 0);
static_assert(node_of_shard(4) == 0 && node_of_shard(5) == 1 && node_of_shard(8) == 1 && node_of_shard(9) == 2);

}  // namespace pm
