#include "os/numa.h"

#include <sys/mman.h>

#include "base/bits.h"
#include "tests/fake_nodes.h"
#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using namespace pm::test;

os::NumaMap map;

TEST_CASE("this machine has at least one node, and a CPU of ours on it") {
  os::read_numa(0, map);
  CHECK(map.count >= 1);
  CHECK(map.with_memory >= map.count);
  for (const uint8_t node : map.node_of_cpu) {
    if (node >= map.count) FAIL(static_cast<int>(node));
  }
  CHECK(os::free_node_bytes(map.kernel_node[0]) > 0);
  CHECK(os::free_node_bytes(1023) == UINT64_MAX);
}

TEST_CASE("memory is bound where it is said, or refused") {
  const size_t bytes = kMiB;
  void* const p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(p != MAP_FAILED);
  os::NodeMask absent = {};
  absent.add(1000);
  CHECK_FALSE(os::memory().bind(address_of(p), bytes, os::NodePolicy::preferred, absent));
  munmap(p, bytes);
}

TEST_CASE("nodes, CPUs and distances") {
  in_fresh_process([] {
    fake_machine(4, 16);
    EXPECT(os::read_numa(0, map) && map.count == 4 && map.with_memory == 4);
    for (unsigned node = 0; node < 4; ++node) {
      EXPECT(map.kernel_node[node] == node && map.has_cpus[node] && !map.shared[node]);
      for (unsigned other = 0; other < 4; ++other) {
        EXPECT(map.distance[node][other] == 10 + 10 * (node < other ? other - node : node - other));
      }
    }
    for (unsigned cpu = 0; cpu < 16; ++cpu) EXPECT(map.node_of_cpu[cpu] == cpu % 4);
    // Of 2,000 MiB the kernel keeps 100 back.
    set_free_bytes(2, 400 * kMiB);
    EXPECT(os::free_node_bytes(2) == 300 * kMiB);
    set_free_bytes(2, 90 * kMiB);
    EXPECT(os::free_node_bytes(2) == 0);
  });
}

TEST_CASE("the caller's node comes first") {
  in_fresh_process([] {
    fake_machine(4, 16);
    EXPECT(os::read_numa(6, map) && map.count == 4);
    EXPECT(map.kernel_node[0] == 2 && map.kernel_node[1] == 0 && map.kernel_node[2] == 1 && map.kernel_node[3] == 3);
    EXPECT(map.node_of_cpu[6] == 0 && map.node_of_cpu[0] == 1 && map.node_of_cpu[5] == 2 && map.node_of_cpu[7] == 3);
    EXPECT(map.distance[0][1] == 30 && map.distance[0][2] == 20 && map.distance[3][1] == 40);
  });
}

TEST_CASE("numbers with gaps, nodes without CPUs, CPUs without memory") {
  in_fresh_process([] {
    use_fake_files();
    fake_files["/sys/devices/system/node/online"] = "0,2,5,8\n";
    fake_files["/sys/devices/system/node/has_memory"] = "0,5,8\n";
    fake_files[node_path(0, "cpulist")] = "0-3\n";
    fake_files[node_path(2, "cpulist")] = "4-7\n";
    fake_files[node_path(5, "cpulist")] = "8-11\n";
    fake_files[node_path(8, "cpulist")] = "\n";
    fake_files[node_path(0, "distance")] = "10 30 20 40\n";
    fake_files[node_path(2, "distance")] = "30 10 12 40\n";
    fake_files[node_path(5, "distance")] = "20 12 10 50\n";
    fake_files[node_path(8, "distance")] = "40 40 50 10\n";
    EXPECT(os::read_numa(0, map) && map.count == 3);
    EXPECT(map.kernel_node[0] == 0 && map.kernel_node[1] == 5 && map.kernel_node[2] == 8);
    EXPECT(map.node_of_cpu[3] == 0 && map.node_of_cpu[8] == 1);
    EXPECT(map.node_of_cpu[4] == 1);  // 5 is nearest to 2
    EXPECT(map.has_cpus[0] && map.has_cpus[1] && !map.has_cpus[2]);
    EXPECT(map.distance[0][1] == 20 && map.distance[1][2] == 50 && map.distance[2][0] == 40);
  });
}

TEST_CASE("nodes that the process may not use do not count") {
  in_fresh_process([] {
    fake_machine(4, 16);
    fake_files["/proc/self/status"] = "Name:\tx\nMems_allowed_list:\t1,3\n";
    EXPECT(os::read_numa(1, map) && map.count == 2 && map.kernel_node[0] == 1 && map.kernel_node[1] == 3);
    EXPECT(map.node_of_cpu[0] == 0 && map.node_of_cpu[3] == 1);
    fake_files["/proc/self/status"] = "Name:\tx\nMems_allowed_list:\t2\n";
    EXPECT(os::read_numa(0, map) && map.count == 1 && map.kernel_node[0] == 2);
  });
}

TEST_CASE("more nodes than numbers: several share one") {
  in_fresh_process([] {
    fake_machine(20, 40);
    EXPECT(os::read_numa(0, map) && map.count == os::kMaxNodes && map.with_memory == 20);
    EXPECT(map.shared[0] && map.shared[3] && !map.shared[4] && !map.shared[15]);
    EXPECT(map.node_of_cpu[15] == 15 && map.node_of_cpu[16] == 0 && map.node_of_cpu[19] == 3);
  });
}

TEST_CASE("nothing to read, or nonsense, is one node") {
  in_fresh_process([] {
    use_fake_files();
    EXPECT(!os::read_numa(0, map) && map.count == 1);
    for (const char* text : {"", "\n", "x", "-1", "5000", "0-", "999999999999"}) {
      fake_files["/sys/devices/system/node/online"] = text;
      fake_files["/sys/devices/system/node/has_memory"] = text;
      os::read_numa(0, map);
      EXPECT(map.count == 1);
    }
    fake_files["/sys/devices/system/node/online"] = "0-1\n";
    fake_files["/sys/devices/system/node/has_memory"] = "0-1\n";
    EXPECT(os::read_numa(0, map) && map.count == 2);  // without CPUs and distances all the same
    EXPECT(map.distance[0][1] == 255 && !map.has_cpus[0]);
  });
}

TEST_CASE("a filter is seen, and unreadable means yes") {
  in_fresh_process([] {
    use_fake_files();
    EXPECT(os::is_filtered());
    const auto says = [](const std::string& text) {
      fake_files["/proc/thread-self/status"] = text;
      return os::is_filtered();
    };
    EXPECT(!says("Name:\tx\nSeccomp:\t0\nSeccomp_filters:\t0\n"));
    EXPECT(says("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
    EXPECT(!says("Name:\tx\nThreads:\t1\n"));  // a kernel without filters
    EXPECT(says("Groups:\t" + std::string(5000, '7')));
  });
}

}  // namespace
