// Many threads that mostly wait. The live data and the number of operations are the same for every --threads, so the
// resident memory of --threads 2 and --threads 1000 can be compared: what is more is what the allocator keeps per
// thread. The stacks belong to no allocator: they lie in one mapping of our own, and their resident part is reported
// beside rss_kib.
//
// Operation: one malloc with its free, in one of the threads, woken in turn.
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

#include <vector>

#include "harness.h"

namespace {

constexpr size_t kStack = 64 * 1024;
constexpr size_t kBurst = 100;

struct Idler {
  pthread_t thread;
  sem_t wake;
  sem_t done;
  uint64_t seed;
  std::vector<void*>* table;
  size_t first;  // this thread's part of the table
  size_t last;
  size_t bursts;
};

size_t draw(bench::Random& random) { return random.log_between(16, 2048); }

// First fills its part of the table; then, each time it is woken, allocates and frees a burst and replaces some live
// objects.
void* idle(void* argument) {
  Idler& self = *static_cast<Idler*>(argument);
  std::vector<void*>& table = *self.table;
  bench::Random random(self.seed);
  for (size_t i = self.first; i < self.last; ++i) table[i] = bench::take_and_write(draw(random), i);
  sem_post(&self.done);
  void* burst[kBurst];
  for (size_t round = 0; round < self.bursts; ++round) {
    while (sem_wait(&self.wake) != 0) {
    }
    for (void*& object : burst) object = bench::take_and_write(draw(random), round);
    for (void* object : burst) bench::give(object);
    for (size_t i = 0; i < kBurst / 10; ++i) {
      void*& object = table[self.first + random.below(self.last - self.first)];
      bench::give(object);
      object = bench::take_and_write(draw(random), round);
    }
    sem_post(&self.done);
  }
  return nullptr;
}

void wait(sem_t& semaphore) {
  while (sem_wait(&semaphore) != 0) {
  }
}

double resident_stacks_kib(void* stacks, size_t size) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident(size / page);
  bench::check(mincore(stacks, size, resident.data()) == 0, "mincore");
  size_t pages = 0;
  for (unsigned char state : resident) pages += state & 1u;
  return static_cast<double>(pages * page) / 1024;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Workload workload("idle_threads", argc, argv);
  const size_t asked = workload.count("threads", 1000);
  const size_t threads = workload.smoke() && asked > 50 ? 50 : asked;
  const size_t objects = workload.count("objects", workload.smoke() ? 5'000 : 200'000);
  const size_t total_bursts = workload.count("bursts", workload.scaled(30'000, 1'000));
  bench::check(objects >= threads, "an object for every thread");

  const size_t stacks_size = threads * kStack;
  void* stacks = mmap(nullptr, stacks_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  bench::check(stacks != MAP_FAILED, "mmap");
  std::vector<void*> table(objects);
  std::vector<Idler> idlers(threads);

  workload.start();
  for (size_t i = 0; i < threads; ++i) {
    Idler& idler = idlers[i];
    sem_init(&idler.wake, 0, 0);
    sem_init(&idler.done, 0, 0);
    idler.seed = workload.seed() + i;
    idler.table = &table;
    idler.first = objects * i / threads;
    idler.last = objects * (i + 1) / threads;
    idler.bursts = total_bursts / threads + (i < total_bursts % threads ? 1 : 0);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, static_cast<char*>(stacks) + i * kStack, kStack);
    bench::check(pthread_create(&idler.thread, &attributes, idle, &idler) == 0, "pthread_create");
    pthread_attr_destroy(&attributes);
  }
  for (Idler& idler : idlers) wait(idler.done);
  for (size_t burst = 0; burst < total_bursts; ++burst) {
    Idler& idler = idlers[burst % threads];
    sem_post(&idler.wake);
    wait(idler.done);
  }
  workload.stop();

  const double stacks_kib = resident_stacks_kib(stacks, stacks_size);
  workload.field("stacks_kib", stacks_kib);
  workload.field("rss_kib", bench::resident_kib() - stacks_kib);
  for (Idler& idler : idlers) pthread_join(idler.thread, nullptr);
  for (void* object : table) bench::give(object);
  return workload.report(objects + total_bursts * (kBurst + kBurst / 10));
}
