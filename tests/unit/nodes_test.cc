#include "page/nodes.h"

#include <cstring>
#include <set>
#include <vector>

#include "magazine/depot.h"
#include "page/page.h"
#include "page/shard.h"
#include "runtime/runtime.h"
#include "slab/slab.h"
#include "tests/fake_nodes.h"
#include "tests/unit/layers.h"

namespace {

using namespace pm;
using namespace pm::test;

constexpr size_t kLearnt = 32 * kMiB;

// Which CPU the threads of a test are said to be on: the map of the machine is read for the CPU they are really on, so
// the whole machine becomes one node's after the nodes are learnt.
void be_on(unsigned node) {
  const uint32_t cpus = os::possible_cpus();
  for (uint32_t cpu = 0; cpu < cpus; ++cpu) nodes::put_cpu_on(cpu, node);
}

void start(unsigned nodes, NumaOptions options = {NumaMode::automatic, -1}, uint64_t window = 16 * kGiB) {
  fake_machine(nodes);
  EXPECT(nodes_init(options));
  EXPECT(page_init({.reserve_bytes = window, .dirty_bytes = 64 * kMiB, .huge = HugeMode::never}));
  place_window();
}

char* large(size_t bytes) {
  void* const p = allocate_large(bytes, kGranuleBytes, false);
  EXPECT(p != nullptr);
  return static_cast<char*>(p);
}

unsigned node_of(const void* p) { return region.node_of(region.granule_of(p)); }

// Grows until the nodes are known.
void learn() {
  while (region.committed_bytes() < kLearnt) large(4 * kMiB);
  EXPECT(node_count() == 1);
  while (node_count() == 1) large(4 * kMiB);
}

bool is_bound(const void* p, unsigned kernel) {
  for (size_t i = 0; i < binding_count; ++i) {
    const FakeBinding& b = bindings[i];
    if (address_of(p) - b.start < b.bytes) return b.policy == os::NodePolicy::preferred && b.nodes.has(kernel);
  }
  return false;
}

PageStatistics statistics() {
  PageStatistics out;
  page_collect(out);
  page_audit();
  return out;
}

TEST_CASE("a small process has one node, a large one learns the others") {
  in_fresh_process([] {
    start(2);
    char* const early = large(20 * kMiB);
    EXPECT(node_count() == 1 && binding_count == 0);
    learn();
    EXPECT(node_count() == 2 && node_of(early) == 0);
    be_on(1);
    char* const far = large(kMiB);
    EXPECT(node_of(far) == 1 && is_bound(far, kernel_node(1)));
    be_on(0);
    char* const near = large(64 * kMiB);
    EXPECT(node_of(near) == 0 && is_bound(near, kernel_node(0)));
    const PageStatistics now = statistics();
    EXPECT(now.nodes == 2 && now.bound_bytes >= 65 * kMiB && now.bind_failures == 0 && now.node_fallbacks == 0);
  });
}

TEST_CASE("with one node nothing is bound and nothing divided") {
  in_fresh_process([] {
    start(1);
    for (int i = 0; i < 30; ++i) large(4 * kMiB);
    EXPECT(node_count() == 1 && binding_count == 0);
    region.each_used([](GranuleIndex first, GranuleIndex end) {
      EXPECT(first == region.first_granule() && end == region.end_granule());
    });
    EXPECT(statistics().nodes == 1);
  });
}

TEST_CASE("switched off, or under a policy of its own, a process stays with one node") {
  for (const bool policy : {false, true}) {
    in_fresh_process([policy] {
      fake_policy = policy;
      start(4, {policy ? NumaMode::automatic : NumaMode::off, -1});
      for (int i = 0; i < 30; ++i) large(4 * kMiB);
      EXPECT(node_count() == 1 && binding_count == 0);
    });
  }
}

TEST_CASE("chunks of a node lie side by side, and the address tells the node") {
  in_fresh_process([] {
    start(4);
    learn();
    std::set<GranuleIndex> firsts[4];
    for (int i = 0; i < 40; ++i) {
      const unsigned node = static_cast<unsigned>(i) % 4;
      be_on(node);
      char* const p = large(3 * kMiB);
      EXPECT(node_of(p) == node && node_of(p + 3 * kMiB - 1) == node);
      EXPECT(is_bound(p, kernel_node(node)));
      firsts[node].insert(region.granule_of(p));
    }
    for (unsigned node = 0; node < 4; ++node) {
      EXPECT(*firsts[node].rbegin() - *firsts[node].begin() < 200 * kMiB >> kGranuleShift);
    }
    // Freed memory is its node's again, whoever frees it.
    be_on(2);
    char* const p = large(3 * kMiB);
    be_on(3);
    void* inside = nullptr;
    EXPECT(free_large(p, &inside) == FreeLarge::done);
    be_on(2);
    EXPECT(large(3 * kMiB) == p);
    statistics();
  });
}

TEST_CASE("a range that is used up goes on in the shared part, on the same node") {
  in_fresh_process([] {
    start(2, {NumaMode::automatic, -1}, kGiB);
    learn();
    be_on(1);
    std::vector<char*> held;
    for (int i = 0; i < 9; ++i) held.push_back(large(40 * kMiB));  // of a range of 240 MiB or so
    const auto reach = static_cast<size_t>(held.back() - held.front());
    EXPECT(reach > 240 * kMiB);
    for (char* p : held) EXPECT(node_of(p) == 1 && is_bound(p, kernel_node(1)));
    EXPECT(statistics().node_fallbacks == 0);
  });
}

TEST_CASE("memory from elsewhere lies in the shared part, and what it leaves is not mixed with a node's") {
  in_fresh_process([] {
    start(2, {NumaMode::automatic, -1}, kGiB);
    learn();
    const Region::Chunk first = region.adopt(kBlockGranules, kFirstFileOwner);
    const Region::Chunk second = region.adopt(kBlockGranules, kFirstFileOwner + 1);
    EXPECT(first.granules == kBlockGranules && second.first == first.first + kBlockGranules);
    EXPECT(region.node_of(first.first) == 0);
    be_on(1);
    EXPECT(region.granule_of(large(100 * kMiB)) < first.first);
    region.abandon(first);
    const Region::Chunk again = region.adopt(kBlockGranules, kFirstFileOwner + 2);
    EXPECT(again.first == first.first && again.granules == kBlockGranules);
    region.abandon(second);
    region.abandon(again);
    // All of it is free again, for a node whose range is used up.
    for (int i = 0; i < 6; ++i) EXPECT(node_of(large(40 * kMiB)) == 1);
    statistics();
  });
}

TEST_CASE("a window too small is not divided") {
  in_fresh_process([] {
    start(4, {NumaMode::automatic, -1}, 256 * kMiB);
    for (int i = 0; i < 15; ++i) large(4 * kMiB);
    EXPECT(node_count() == 1 && binding_count == 0);
    EXPECT(!region.divide(4) && !region.divide(1) && !region.divide(kMaxNodes + 1));
  });
}

TEST_CASE("what a full node lacks comes from the nearest that has it") {
  in_fresh_process([] {
    start(4);
    learn();
    // Distances by the kernel's numbers: 1 is next to 0 and 2.
    unsigned of_kernel[4];
    for (unsigned node = 0; node < 4; ++node) of_kernel[kernel_node(node)] = node;
    const unsigned full = of_kernel[3];
    set_free_bytes(3, kMiB);
    be_on(full);
    char* p = large(64 * kMiB);
    EXPECT(node_of(p) == of_kernel[2] && statistics().node_fallbacks == 1);
    set_free_bytes(2, 0);
    p = large(64 * kMiB);
    EXPECT(node_of(p) == of_kernel[1] && statistics().node_fallbacks == 2);
    // All full: the own one, where the kernel may make room.
    for (unsigned node = 0; node < 4; ++node) set_free_bytes(node, 0);
    be_on(of_kernel[0]);
    p = large(64 * kMiB);
    EXPECT(node_of(p) == of_kernel[0] && statistics().node_fallbacks == 2);
    // What is free already needs no room.
    void* inside = nullptr;
    EXPECT(free_large(p, &inside) == FreeLarge::done);
    EXPECT(large(64 * kMiB) == p);
  });
}

TEST_CASE("nodes without CPUs help last, and an order from outside is checked") {
  in_fresh_process([] {
    fake_machine(3);
    fake_files[node_path(1, "cpulist")] = "\n";
    fake_files[node_path(0, "cpulist")] = "0-31\n";
    fake_files[node_path(2, "cpulist")] = "32-63\n";
    EXPECT(nodes_init({NumaMode::automatic, -1}));
    EXPECT(page_init({.reserve_bytes = 16 * kGiB, .dirty_bytes = 64 * kMiB, .huge = HugeMode::never}));
    place_window();
    learn();
    EXPECT(kernel_node(0) == 0);
    EXPECT(fallback_node(0, 0) == 0 && kernel_node(fallback_node(0, 1)) == 2 && kernel_node(fallback_node(0, 2)) == 1);
    const uint8_t turned[] = {0, 1, 2};
    EXPECT(set_fallback_order(0, turned) && fallback_node(0, 1) == 1);
    const uint8_t twice[] = {0, 1, 1};
    const uint8_t absent[] = {0, 1, 3};
    const uint8_t other[] = {1, 0, 2};
    EXPECT(!set_fallback_order(0, twice) && !set_fallback_order(0, absent) && !set_fallback_order(0, other));
    EXPECT(!set_fallback_order(7, turned) && fallback_node(0, 2) == 2);
  });
}

TEST_CASE("a kernel that refuses to bind is counted and no more; a filter is not asked") {
  in_fresh_process([] {
    start(2);
    learn();
    const uint64_t before = statistics().bound_bytes;
    refuse_to_bind = true;
    be_on(1);
    large(100 * kMiB)[5] = 1;
    EXPECT(statistics().bind_failures > 0 && statistics().bound_bytes == before);
    refuse_to_bind = false;
    fake_files["/proc/thread-self/status"] = "Name:\tx\nSeccomp:\t2\n";
    const size_t asked = binding_count;
    large(100 * kMiB);
    EXPECT(binding_count == asked);
  });
}

TEST_CASE("interleaved, all memory is; with a preferred node, all is from there") {
  in_fresh_process([] {
    start(3, {NumaMode::interleave, -1});
    large(kMiB);
    for (int i = 0; i < 30; ++i) large(4 * kMiB);
    EXPECT(node_count() == 1 && binding_count > 0);
    size_t bytes = 0;
    for (size_t i = 0; i < binding_count; ++i) {
      EXPECT(bindings[i].policy == os::NodePolicy::interleave);
      for (unsigned node = 0; node < 3; ++node) EXPECT(bindings[i].nodes.has(node));
      EXPECT(!bindings[i].nodes.has(3));
      bytes += bindings[i].bytes;
    }
    EXPECT(bytes == region.committed_bytes() && statistics().bound_bytes == bytes);
  });
  in_fresh_process([] {
    start(3, {NumaMode::automatic, 2});
    char* const p = large(kMiB);
    EXPECT(is_bound(p, 2) && !is_bound(p, 0));
    for (int i = 0; i < 30; ++i) EXPECT(is_bound(large(4 * kMiB), 2));
    EXPECT(node_count() == 1);
  });
}

TEST_CASE("a preferred node that does not exist is refused, and the nodes are learnt as usual") {
  in_fresh_process([] {
    fake_machine(2);
    EXPECT(!nodes_init({NumaMode::automatic, 2}));
    EXPECT(page_init({.reserve_bytes = 16 * kGiB, .dirty_bytes = 64 * kMiB, .huge = HugeMode::never}));
    place_window();
    learn();
    EXPECT(node_count() == 2);
  });
  in_fresh_process([] {
    fake_machine(1);
    EXPECT(nodes_init({NumaMode::automatic, 0}) && !nodes_init({NumaMode::automatic, 1}));
    use_fake_files();
    fake_files.clear();
    EXPECT(nodes_init({NumaMode::interleave, 0}) && !nodes_init({NumaMode::interleave, 7}));
  });
}

TEST_CASE("slabs are their node's; what a node lacks another's partial slabs give") {
  in_fresh_process([] {
    start(2);
    EXPECT(slab_init());
    learn();
    const ClassId id = class_of(1024);
    void* near[64];
    void* far[64];
    be_on(0);
    EXPECT(slab_allocate(id, near, 64) > 0 && node_of(near[0]) == 0);
    be_on(1);
    const size_t n = slab_allocate(id, far, 16);
    EXPECT(n == 16 && node_of(far[0]) == 1);
    SlabClassStatistics rows[kMaxClasses];
    slab_collect(rows);
    EXPECT(rows[id].slabs == 2);
    // Both nodes full, and node 0 at the end of what it has: the partial slab of node 1 serves its threads too.
    for (unsigned node = 0; node < 2; ++node) set_free_bytes(node, 0);
    be_on(0);
    void* more[64];
    while (true) {
      const size_t got = slab_allocate(id, more, 64);
      EXPECT(got > 0);
      if (node_of(more[0]) == 1) break;
    }
    slab_collect(rows);
    EXPECT(rows[id].slabs == slab_counters().created);
    slab_audit();
    // Freed from node 0, an object of node 1 is node 1's again.
    EXPECT(slab_deallocate(id, far, n) == 0);
    be_on(1);
    void* again[64];
    EXPECT(slab_allocate(id, again, 1) == 1 && node_of(again[0]) == 1);
    slab_audit();
    slab_trim();
  });
}

TEST_CASE("a flush sends objects of other nodes home and keeps the local ones in its depot") {
  in_fresh_process([] {
    fake_machine(2);
    EXPECT(nodes_init({NumaMode::automatic, -1}));
    EXPECT(page_init({.reserve_bytes = 16 * kGiB, .dirty_bytes = 64 * kMiB, .huge = HugeMode::never}));
    place_window();
    EXPECT(slab_init());
    EXPECT(magazine_init({.magazine_bytes = 64 * kKiB,
                          .depot_bytes = 4 * kMiB,
                          .allow_rseq = false,
                          .use_mm_cid = false,
                          .checked = true}));
    learn();
    const ClassId id = class_of(256);
    be_on(1);
    std::vector<void*> objects;
    for (int i = 0; i < 2000; ++i) objects.push_back(magazine_refill(id));
    size_t on_node_1 = 0;
    for (void* p : objects) on_node_1 += node_of(p) == 1;
    EXPECT(on_node_1 == objects.size() && magazine_counters().remote_refills == 0);
    be_on(0);
    for (void* p : objects) EXPECT(magazine_overflow(id, p) == Overflow::done);
    const uint64_t remote = magazine_counters().remote_frees;
    EXPECT(remote > 1000);
    void* batch[kMaxBatch];
    EXPECT(depot_take(0, id, batch) == 0 && depot_take(1, id, batch) == 0);
    // At home they make batches.
    objects.clear();
    for (int i = 0; i < 2000; ++i) objects.push_back(magazine_refill(id));
    for (void* p : objects) magazine_overflow(id, p);
    EXPECT(depot_objects(id) > 0);
    const size_t taken = depot_take(0, id, batch);
    EXPECT(taken > 0);
    for (size_t i = 0; i < taken; ++i) EXPECT(node_of(batch[i]) == 0);
    EXPECT(depot_take(1, id, batch) == 0);
    EXPECT(magazine_drain_all() && depot_objects(id) == 0);
    slab_audit();
  });
}

TEST_CASE("a child forked from a process with nodes has all its locks") {
  in_fresh_process([] {
    start(2);
    learn();
    page_before_fork();
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
      page_after_fork_child(false);
      for (unsigned node = 0; node < 2; ++node) {
        be_on(node);
        EXPECT(node_of(large(8 * kMiB)) == node);
      }
      _exit(0);
    }
    page_after_fork_parent();
    int status = -1;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    be_on(1);
    large(8 * kMiB);
    statistics();
  });
}

}  // namespace
