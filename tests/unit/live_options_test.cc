// live_options.cc through the public API: what a change does in the layers.
#include "runtime/live_options.h"

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "heap/heap.h"
#include "heap/misuse.h"
#include "magazine/layout.h"
#include "page/exposure.h"
#include "page/huge_advice.h"
#include "page/page.h"
#include "poolmalloc/poolmalloc.h"
#include "reclaim/worker.h"
#include "runtime/runtime.h"
#include "tests/unit/fresh_process.h"

namespace {

using namespace pm;
using pm::test::in_fresh_process;

std::string now(const char* name) {
  char buffer[300];
  EXPECT(pm_option_get(name, buffer, sizeof buffer, nullptr) >= 0);
  return buffer;
}

int error_of(const char* name, const char* value) {
  errno = 0;
  return pm_option_set(name, value) == 0 ? 0 : errno;
}

TEST_CASE("a change is in force at once, and can be read") {
  in_fresh_process([] {
    if (!start_heap()) return;
    EXPECT(now("dirty_bytes") == "32m" && error_of("dirty_bytes", "1m") == 0 && now("dirty_bytes") == "1m");
    EXPECT(error_of("misuse", "continue") == 0 && !abort_on_misuse);
    EXPECT(error_of("huge", "never") == 0 && huge_advice.mode() == HugeMode::never);
    EXPECT(error_of("huge", "always") == 0 && huge_advice.mode() == HugeMode::always);
    EXPECT(error_of("magazine_bytes", "128k") == 0 && magazine_budget_bytes == 128 * kKiB);
    EXPECT(error_of("limit_hard", "64m") == 0 && own_limits.hard == 64 * kMiB);
    EXPECT(pm_limit_set(5 << 20, 0) == 0 && now("limit_soft") == "5m" && now("limit_hard") == "0");
    EXPECT(now("misuse") == "continue" && options().dirty_bytes == 32 * kMiB);
    int is_default = 1;
    EXPECT(pm_option_get("misuse", nullptr, 0, &is_default) == 8 && is_default == 0);
  });
}

TEST_CASE("what is refused changes nothing") {
  in_fresh_process([] {
    if (!start_heap()) return;
    EXPECT(error_of("nonsense", "1") == ENOENT && error_of("", "") == ENOENT);
    EXPECT(error_of("fit", "first") == EPERM && error_of("fit", "nonsense") == EPERM);
    EXPECT(error_of("dirty_bytes", "nonsense") == EINVAL && error_of("dirty_bytes", "2t") == EINVAL);
    EXPECT(error_of("huge", "hugetlb") == EINVAL && error_of("pressure_levels", "5,4,3,2,1") == EINVAL);
    EXPECT(now("fit") == "best" && now("dirty_bytes") == "32m" && now("huge") == "auto");
  });
}

TEST_CASE("where the C library serves, nothing can be changed") {
  in_fresh_process([] {
    setenv("POOLMALLOC_ENABLED", "0", 1);
    EXPECT(error_of("dirty_bytes", "1m") == ENOSYS && now("dirty_bytes") == "32m");
  });
}

TEST_CASE("the dirty limit decommits from the next growth on") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER", "off", 1);
    setenv("POOLMALLOC_DIRTY_BYTES", "1g", 1);
    setenv("POOLMALLOC_MEMORY_PRICE", "0", 1);
    if (!start_heap()) return;
    const auto churn = [](size_t size) {
      void* const large = allocate(96 * kMiB);
      memset(large, 1, 96 * kMiB);
      void* const barrier = allocate(2 * kMiB);
      deallocate(large, nullptr);
      // Growth looks at what lies dirty.
      void* const larger = allocate(size);
      const uint64_t dirty = page_figures().dirty_bytes;
      deallocate(larger, nullptr);
      deallocate(barrier, nullptr);
      page_trim(SIZE_MAX);
      return dirty;
    };
    EXPECT(churn(200 * kMiB) >= 96 * kMiB);
    EXPECT(pm_option_set("dirty_bytes", "0") == 0);
    EXPECT(churn(800 * kMiB) < 96 * kMiB);
  });
}

TEST_CASE("the worker's arithmetic follows") {
  in_fresh_process([] {
    setenv("POOLMALLOC_WORKER", "off", 1);
    if (!start_heap()) return;
    std::vector<char*> objects;
    for (int i = 0; i < 40; ++i) {
      objects.push_back(static_cast<char*>(allocate(kMiB)));
      memset(objects.back(), 1, kMiB);
    }
    // Far from its limit by the default levels, and past all of them by others.
    EXPECT(pm_option_set("limit_soft", "1g") == 0 && pressure_round() && pm_pressure_level() == PM_PRESSURE_CALM);
    EXPECT(pm_option_set("pressure_levels", "1,2,3,4,5") == 0);
    EXPECT(pressure_round() && pm_pressure_level() > PM_PRESSURE_CALM);
    EXPECT(pm_option_set("pressure_levels", "60,70,80,90,95") == 0);
    EXPECT(pressure_round() && pm_pressure_level() == PM_PRESSURE_CALM);
    for (char* p : objects) deallocate(p, nullptr);
  });
}

TEST_CASE("the size at which the worker starts can be raised and lowered before") {
  in_fresh_process([] {
    if (!start_heap()) return;
    EXPECT(pm_option_set("worker_start_bytes", "1t") == 0);
    void* const large = allocate(100 * kMiB);
    EXPECT(worker_state() == WorkerState::none);
    EXPECT(pm_option_set("worker_start_bytes", "8m") == 0);
    deallocate(allocate(200 * kMiB), nullptr);
    EXPECT(worker_state() != WorkerState::none);
    deallocate(large, nullptr);
  });
}

TEST_CASE("threads that change and read see whole values") {
  in_fresh_process([] {
    if (!start_heap()) return;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([i] {
        for (int n = 0; n < 500; ++n) {
          EXPECT(pm_option_set("pressure_levels", i % 2 == 0 ? "1,2,3,4,5" : "91,92,93,94,95") == 0);
          EXPECT(pm_option_set("dirty_bytes", i % 2 == 0 ? "1m" : "1g") == 0);
        }
      });
    }
    for (int n = 0; n < 2000; ++n) {
      const std::string levels = now("pressure_levels");
      EXPECT(levels == "1,2,3,4,5" || levels == "91,92,93,94,95" || levels == "60,70,80,90,95");
    }
    for (std::thread& thread : threads) thread.join();
  });
}

TEST_CASE("a child has what its parent changed, and can change it while the parent's threads do") {
  in_fresh_process([] {
    if (!start_heap()) return;
    std::atomic<bool> stop{false};
    std::thread other([&] {
      while (!stop) EXPECT(pm_option_set("memory_price", "7") == 0);
    });
    EXPECT(pm_option_set("dirty_bytes", "3m") == 0);
    for (int i = 0; i < 50; ++i) {
      before_fork();
      const pid_t child = fork();
      if (child == 0) {
        after_fork_child();
        EXPECT(now("dirty_bytes") == "3m");
        EXPECT(pm_option_set("dirty_bytes", "4m") == 0 && now("dirty_bytes") == "4m");
        _exit(0);
      }
      after_fork_parent();
      int status = -1;
      EXPECT(waitpid(child, &status, 0) == child && status == 0);
    }
    stop = true;
    other.join();
    EXPECT(now("dirty_bytes") == "3m");
  });
}

}  // namespace
