// What could make a profiler wait for itself, all at once: threads that allocate, libraries loaded and unloaded, forks
// from several threads, exceptions through many frames, signal handlers that allocate, and threads that come and go. A
// hang ends in SIGALRM.
//
// Usage: soak PLUGIN SECONDS
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "expect.h"
#include "poolmalloc/poolmalloc.h"

namespace {

std::atomic<bool> stop{false};
std::atomic<unsigned long> rounds[7];
const char* plugin_path;

void allocate_some(uint64_t* random, int times) {
  void* held[32] = {};
  for (int i = 0; i < times; ++i) {
    void*& p = held[next_random(random) % 32];
    free(p);
    const uint64_t choice = next_random(random);
    p = opaque(malloc(choice % 1000 == 0 ? 300'000 : choice % 4000));
  }
  for (void* const p : held) free(p);
}

void allocate_on(int) {
  uint64_t random = 7;
  while (!stop) {
    allocate_some(&random, 1000);
    ++rounds[0];
  }
}

void load_and_unload(int) {
  while (!stop) {
    void* const plugin = dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL);
    EXPECT(plugin != nullptr);
    reinterpret_cast<void (*)(int)>(dlsym(plugin, "plugin_allocate"))(20);
    try {
      reinterpret_cast<void (*)(int)>(dlsym(plugin, "plugin_throw"))(10);
      EXPECT(false);
    } catch (const std::runtime_error&) {
    }
    EXPECT(dlclose(plugin) == 0);
    ++rounds[1];
  }
}

// The callback runs under the dynamic linker's lock.
void look_at_libraries(int) {
  while (!stop) {
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void*) {
          const std::string name(info->dlpi_name);
          void* const p = opaque(malloc(name.size() + 500));
          free(p);
          return 0;
        },
        nullptr);
    ++rounds[2];
  }
}

[[gnu::noinline]] void throw_deep(int depth) {
  const std::string local(opaque_size(100), 'x');
  if (depth == 0) throw std::runtime_error(local);
  throw_deep(depth - 1);
  EXPECT(local.size() == 100);
}

void throw_and_catch(int) {
  while (!stop) {
    try {
      throw_deep(20);
    } catch (const std::runtime_error& error) {
      EXPECT(std::string(error.what()).size() == 100);
    }
    ++rounds[3];
  }
}

void throw_once() {
  try {
    throw_deep(5);
  } catch (const std::runtime_error&) {
  }
}

void fork_children(int) {
  while (!stop) {
    const pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
      alarm(60);
      uint64_t random = 11;
      allocate_some(&random, 300);
      throw_once();
      _exit(0);
    }
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    ++rounds[4];
  }
}

void start_threads(int) {
  while (!stop) {
    std::thread([] {
      uint64_t random = 13;
      allocate_some(&random, 50);
    }).join();
    ++rounds[5];
  }
}

// Sizes of one class only, as a handler that keeps its memory would.
void handle(int) {
  const int saved = errno;
  void* p[4];
  for (void*& object : p) object = malloc(700);
  for (void* const object : p) free(object);
  errno = saved;
  ++rounds[6];
}

}  // namespace

int main(int argc, char** argv) {
  EXPECT(argc == 3);
  plugin_path = argv[1];
  const int seconds = atoi(argv[2]);
  alarm(static_cast<unsigned>(seconds) + 60);
  struct sigaction action = {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  EXPECT(sigaction(SIGUSR1, &action, nullptr) == 0);
  std::vector<std::thread> threads;
  for (void (*const run)(int) : {allocate_on, allocate_on, load_and_unload, look_at_libraries, throw_and_catch,
                                 fork_children, fork_children, start_threads}) {
    threads.emplace_back(run, 0);
  }
  const int null = open("/dev/null", O_WRONLY);
  for (const time_t end = time(nullptr) + seconds; time(nullptr) < end;) {
    for (std::thread& thread : threads) pthread_kill(thread.native_handle(), SIGUSR1);
    EXPECT(pm_profile_dump(null) == 0);
    usleep(2000);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  unsigned long long samples = 0;
  unsigned long long dropped = 0;
  EXPECT(pm_metric_get("profile_samples", &samples) == 0 && samples > 0);
  EXPECT(pm_metric_get("profile_dropped", &dropped) == 0);
  printf("%llu samples, %llu dropped; rounds", samples, dropped);
  for (const auto& count : rounds) {
    printf(" %lu", count.load());
    EXPECT(count > 0);
  }
  printf("\n");
  return 0;
}
