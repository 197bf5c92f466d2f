#include "os/cpu.h"

#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

void pin_to(uint32_t cpu) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(static_cast<int>(cpu), &cpus);
  EXPECT(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
}

TEST_CASE("every CPU number is below the number of possible CPUs") {
  in_fresh_process([] {
    EXPECT(os::possible_cpus() >= static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_CONF)));
    bool mm_cid = false;
    os::start_rseq(true, false, &mm_cid);
    EXPECT(os::current_cpu() < os::possible_cpus());
  });
}

TEST_CASE("there are as many CPUs as the kernel says, if it knows the ones we run on") {
  std::ifstream file("/sys/devices/system/cpu/possible");
  uint32_t first = 1;
  uint32_t last = 0;
  char dash = 0;
  if (!(file >> first) || first != 0 || (file >> dash && (dash != '-' || !(file >> last)))) {
    SUCCEED("skipped: no list such as 0-7");
    return;
  }
  cpu_set_t cpus;
  REQUIRE(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
  for (uint32_t cpu = last + 1; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<int>(cpu), &cpus)) {
      SUCCEED("skipped: the list lacks CPUs");
      return;
    }
  }
  CHECK(os::possible_cpus() == last + 1);
}

TEST_CASE("without rseq no thread has a CPU, but the hint is right") {
  in_fresh_process([] {
    bool mm_cid = true;
    EXPECT(os::start_rseq(false, true, &mm_cid) == os::RseqSource::none);
    EXPECT(!mm_cid);
    EXPECT(os::rseq_cpu() >= 0x80000000U);
    EXPECT(!os::register_this_thread());
    const auto cpu = static_cast<uint32_t>(sched_getcpu());
    pin_to(cpu);
    EXPECT(os::current_cpu() == cpu);
  });
}

TEST_CASE("with rseq every thread sees its CPU") {
  in_fresh_process([] {
    bool mm_cid = true;
    const os::RseqSource source = os::start_rseq(true, false, &mm_cid);
    EXPECT(!mm_cid);
    if (source == os::RseqSource::none) return;
    const auto look = [source] {
      if (source == os::RseqSource::own) EXPECT(os::register_this_thread());
      cpu_set_t allowed;
      sched_getaffinity(0, sizeof allowed, &allowed);
      for (uint32_t cpu = 0; cpu < os::possible_cpus(); ++cpu) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        pin_to(cpu);
        EXPECT(os::rseq_cpu() == cpu && os::current_cpu() == cpu);
      }
    };
    look();
    std::thread(look).join();
  });
}

TEST_CASE("concurrency ids are small numbers") {
  in_fresh_process([] {
    bool mm_cid = false;
    os::start_rseq(true, true, &mm_cid);
    if (!mm_cid) return;
    // One thread: the first id.
    EXPECT(os::rseq_cpu() == 0);
  });
}

TEST_CASE("the fence needs no preparation by its caller") {
  in_fresh_process([] {
    bool mm_cid = false;
    if (os::start_rseq(true, false, &mm_cid) == os::RseqSource::none) return;
    const bool unprepared = os::fence_rseq();
    os::prepare_fence();
    EXPECT(os::fence_rseq() == unprepared);
  });
}

}  // namespace
