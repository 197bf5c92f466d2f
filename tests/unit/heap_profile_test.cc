#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "heap/heap.h"
#include "heap/misuse.h"
#include "os/process.h"
#include "profile/dump.h"
#include "profile/profile.h"
#include "tests/unit/with_heap.h"

namespace {

using namespace pm;

const void* here() { return reinterpret_cast<const void*>(&trim_heap); }

template <typename Body>
void with_heap(Body body) {
  test::with_heap([&] {
    profile_configure(8 * kMiB);
    body();
  });
}

// The counts of all sites of one object size together.
struct Sum {
  uint64_t sites, allocated, live, peak, temporary;
  uint64_t ages[kAges];
};
Sum sum_of(size_t size) {
  struct Context {
    size_t size;
    Sum sum;
  } context = {size, {}};
  EXPECT(profile_each_site(
             [](void* c, const Site& site, const SiteCounts& counts) {
               auto& [wanted, sum] = *static_cast<Context*>(c);
               if (site_size(site, counts) != wanted) return;
               ++sum.sites;
               sum.allocated += counts.allocated;
               sum.live += counts.live;
               sum.peak += counts.peak;
               sum.temporary += counts.temporary;
               for (unsigned i = 0; i < kAges; ++i) sum.ages[i] += counts.ages[i];
             },
             &context) == 0);
  return context.sum;
}

std::vector<void*> take(size_t count, size_t size) {
  std::vector<void*> out;
  for (size_t i = 0; i < count; ++i) {
    out.push_back(allocate(size));
    EXPECT(out.back() != nullptr && usable_size(out.back(), here()) >= size);
    memset(out.back(), 1, size);
  }
  return out;
}

void give(const std::vector<void*>& objects) {
  for (void* const p : objects) deallocate(p, here());
}

TEST_CASE("what lives, lived at the peak, and was freed at once") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    const std::vector<void*> first = take(100, 64);
    const std::vector<void*> second = take(50, 1024);  // the peak
    os::sleep_ns(30'000'000);
    give(second);
    give(std::vector<void*>(first.begin(), first.begin() + 40));
    give(take(20, 64));
    const std::vector<void*> third = take(30, 256);
    Sum sum = sum_of(64);
    EXPECT(sum.allocated == 120 && sum.live == 60 && sum.peak == 100 && sum.temporary == 20);
    sum = sum_of(1024);
    EXPECT(sum.allocated == 50 && sum.live == 0 && sum.peak == 50 && sum.temporary == 0);
    sum = sum_of(256);
    EXPECT(sum.allocated == 30 && sum.live == 30 && sum.peak == 0);
    // A new peak takes the place of the old one.
    const std::vector<void*> fourth = take(500, 256);
    EXPECT(sum_of(256).peak == 530 && sum_of(64).peak == 60 && sum_of(1024).peak == 0);
    give(fourth);
    EXPECT(sum_of(256).peak == 530 && sum_of(256).live == 30);
    profile_audit();
  });
}

TEST_CASE("ages") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    const std::vector<void*> old = take(3, 64);
    os::sleep_ns(1'050'000'000);
    const std::vector<void*> young = take(5, 64);
    const Sum sum = sum_of(64);
    EXPECT(sum.ages[0] == 5 && sum.ages[1] == 3 && sum.live == 8);
  });
}

TEST_CASE("large objects, resized and moved") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    void* p = allocate(1'000'000);
    EXPECT(sampled_at(p) == Sampled::object);
    const size_t size = usable_size(p, here());
    EXPECT(sum_of(size).live == 1);
    p = reallocate(p, 3'000'000, here());
    EXPECT(sum_of(size).live == 0 && sum_of(usable_size(p, here())).live == 1);
    p = reallocate(p, 500'000, here());
    EXPECT(sum_of(usable_size(p, here())).live == 1);
    p = reallocate(p, 1000, here());
    EXPECT(sampled_at(p) == Sampled::slots && sum_of(1024).live == 1);
    void* const aligned = allocate_aligned(1 << 20, 300'000);
    EXPECT(address_of(aligned) % (1 << 20) == 0 && sampled_at(aligned) == Sampled::object);
    deallocate(aligned, here());
    EXPECT(sampled_at(aligned) == Sampled::no);
    deallocate(aligned, here());
    EXPECT(misuse_count() == 1);
    deallocate(p, here());
    EXPECT(profile_statistics().live_samples == 0);
  });
}

TEST_CASE("sampled small objects are as others are") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    for (size_t size = 1; size <= kMaxClassSize; size += 1 + size / 8) {
      void* p = allocate(size);
      EXPECT(sampled_at(p) == Sampled::slots && address_of(p) % 16 == 0);
      EXPECT(usable_size(p, here()) == size_class(class_of(size)).size);
      memset(p, 3, size);
      p = reallocate(p, size * 2, here());
      for (size_t i = 0; i < size; ++i) EXPECT(static_cast<char*>(p)[i] == 3);
      deallocate(p, here());
      for (size_t alignment = 32; alignment <= 64 * kKiB; alignment *= 8) {
        void* const q = allocate_aligned(alignment, size);
        EXPECT(address_of(q) % alignment == 0 && usable_size(q, here()) >= size);
        deallocate(q, here());
      }
    }
    EXPECT(misuse_count() == 0);
    char* const p = static_cast<char*>(allocate(64));
    deallocate(p + 16, here());
    deallocate_sized_cold(p, 4096, here());
    EXPECT(misuse_count() == 2);
    deallocate(p, here());
    deallocate(p, here());
    EXPECT(reallocate(p, 100, here()) == nullptr);
    EXPECT(misuse_count() == 4 && profile_statistics().live_samples == 0);
    profile_audit();
  });
}

TEST_CASE("starting, stopping, and starting again") {
  with_heap([] {
    EXPECT(profile_dump(2) == -ESRCH && profile_stop() == -ESRCH);
    EXPECT(profile_start(0) == -EINVAL && profile_start((uint64_t{1} << 40) + 1) == -EINVAL);
    EXPECT(profile_start(1) == 0 && profile_start(1) == -EALREADY);
    const std::vector<void*> first = take(100, 64);
    EXPECT(profile_stop() == 0 && profile_stop() == -ESRCH);
    const std::vector<void*> unseen = take(100, 64);
    give(std::vector<void*>(first.begin(), first.begin() + 10));
    EXPECT(sum_of(64).allocated == 100 && sum_of(64).live == 90);
    EXPECT(profile_start(1) == 0);
    EXPECT(sum_of(64).sites == 0);
    // Objects of the first profile may go during the second.
    give(std::vector<void*>(first.begin() + 10, first.end()));
    give(unseen);
    const std::vector<void*> second = take(7, 64);
    EXPECT(sum_of(64).allocated == 7 && sum_of(64).live == 7);
    give(second);
    EXPECT(profile_stop() == 0);
    // All runs went back.
    static SlabClassStatistics rows[kMaxClasses];
    profile_collect(rows);
    for (const SlabClassStatistics& row : rows) EXPECT(row.slabs == 0);
  });
}

TEST_CASE("tables that are full drop samples and nothing else") {
  test::in_fresh_process([] {
    test::start_magazines(true);
    heap_view.small_limit = kMaxClassSize + 1;
    profile_configure(kMiB);
    EXPECT(profile_start(1) == 0);
    const std::vector<void*> objects = take(20'000, 64);
    const ProfileStatistics now = profile_statistics();
    EXPECT(now.dropped > 0 && now.samples + now.dropped >= 20'000 && now.table_bytes <= 2 * kMiB);
    EXPECT(sum_of(64).live == now.live_samples);
    give(objects);
    EXPECT(profile_statistics().live_samples == 0);
  });
}

TEST_CASE("a handler inside a lock samples nothing, and what it frees is put off") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    const std::vector<void*> objects = take(4, 64);
    void* const large = allocate(1'000'000);
    const uint64_t samples = profile_statistics().samples;
    locks_held = uint32_t{1} << static_cast<unsigned>(LockRank::region);
    void* const p = allocate(64);
    EXPECT(p != nullptr && sampled_at(p) == Sampled::no);
    deallocate(objects[0], here());
    deallocate(large, here());
    EXPECT(misuse_count() == 0);
    deallocate(objects[0], here());
    EXPECT(misuse_count() == 1);
    locks_held = 0;
    EXPECT(profile_statistics().samples == samples && profile_statistics().live_samples == 3);
    EXPECT(profile_statistics().dropped >= 1);
  });
}

TEST_CASE("the dump says it all, and that it is whole") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    const std::vector<void*> objects = take(5, 640);
    int ends[2];
    EXPECT(pipe(ends) == 0);
    std::string text;
    std::thread reader([&] {
      char chunk[4096];
      for (ssize_t n; (n = read(ends[0], chunk, sizeof chunk)) > 0;) text.append(chunk, static_cast<size_t>(n));
    });
    EXPECT(profile_dump(ends[1]) == 0);
    close(ends[1]);
    reader.join();
    std::istringstream in(text);
    std::string line;
    std::string last;
    unsigned sites = 0;
    bool found = false;
    bool mapped = false;
    while (std::getline(in, line)) {
      last = line;
      std::istringstream words(line);
      std::string word;
      words >> word;
      if (word == "mapping" && line.find("profile_test") != std::string::npos) mapped = true;
      if (word != "site") continue;
      unsigned id = 0;
      unsigned size = 0;
      unsigned allocated = 0;
      words >> id >> size >> allocated;
      EXPECT(id == sites++);
      found = found || (size == 640 && allocated == 5);
    }
    EXPECT(mapped && found && last == "end " + std::to_string(sites));
    const int full = open("/dev/full", O_WRONLY);
    EXPECT(full >= 0 && profile_dump(full) == -ENOSPC);
    EXPECT(profile_dump(-1) == -EBADF);
  });
}

TEST_CASE("a forked child goes on with its copy") {
  with_heap([] {
    EXPECT(profile_start(1) == 0);
    const std::vector<void*> objects = take(5, 64);
    profile_before_fork();
    const pid_t child = fork();
    if (child == 0) {
      profile_after_fork_child(false);
      give(objects);
      const std::vector<void*> more = take(3, 64);
      const Sum sum = sum_of(64);
      _exit(sum.allocated == 8 && sum.live == 3 ? 0 : 1);
    }
    profile_after_fork_parent();
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(sum_of(64).live == 5);
  });
}

}  // namespace
